"""Figures by the data that they draw."""

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from sweep_factory import make_sweep

from ablation.plots import loss_overlay, metric_against_sigma, style
from ablation.stats import as_frame, baseline_spread, estimate
from ablation.table import load_sweep

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    with style():
        yield
    plt.close("all")


def drawn(tmp_path, grid, hue=None):
    sweep = load_sweep(make_sweep(tmp_path / "s", grid).folder)
    means = as_frame(estimate(sweep.runs, sweep.factors, "segm/AP"))
    band = baseline_spread(sweep.runs, "segm/AP")
    return sweep, means, metric_against_sigma(sweep.runs, means, "segm/AP", hue, band)


def test_every_seed_is_a_point_and_the_line_is_their_mean(tmp_path):
    sweep, means, ax = drawn(tmp_path, {"noise.sigma": [0, 0.1, 0.5], "seed": [0, 1, 2]})
    lines = [line.get_ydata() for line in ax.get_lines()]
    points = next(y for y in lines if len(y) == 9)
    assert sorted(points) == pytest.approx(sorted(sweep.runs["segm/AP"]))
    mean = next(y for y in lines if len(y) == 3)
    assert list(mean) == pytest.approx(list(means.sort_values("noise.sigma")["value"]))


def test_the_band_is_the_range_of_the_baseline(tmp_path):
    sweep, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.5], "seed": [0, 1, 2]})
    baseline = sweep.runs[sweep.runs["noise.sigma"] == 0]["segm/AP"]
    spans = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches]
    assert any(s.y0 == pytest.approx(baseline.min()) and s.y1 == pytest.approx(baseline.max()) for s in spans)


def test_one_seed_draws_no_interval_and_no_band(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.1]})
    assert not ax.containers
    assert not ax.patches


def test_the_second_axis_is_the_snr(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.1, 1.0]})
    (top,) = ax.child_axes
    assert [label.get_text() for label in top.get_xticklabels()] == ["∞", "20", "-0"] or [
        label.get_text() for label in top.get_xticklabels()
    ] == ["∞", "20", "0"]


def test_forty_strengths_keep_their_labels_apart(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [round(0.025 * i, 3) for i in range(40)]})
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))


def test_the_loss_overlay_has_a_label_for_each_strength(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1]}).folder)
    keys = sweep.runs[["training_id", "noise.sigma", "seed"]].drop_duplicates()
    curves = sweep.curves[sweep.curves["metric"] == "total_loss"].merge(keys, on="training_id")
    ax = loss_overlay(curves, "total_loss", "noise.sigma")
    assert len([line for line in ax.get_lines() if not line.get_label().startswith("_")]) == 2
