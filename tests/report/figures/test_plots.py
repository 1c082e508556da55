"""Figures by the data that they draw."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sweep_factory import make_sweep

from ablation.report.figures.plots import loss_overlay, metric_against_sigma
from ablation.report.figures.style import Layout, small_multiples, style
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.estimates import as_frame, baseline_spread, estimate


@pytest.fixture(autouse=True)
def styled():
    with style():
        yield


def drawn(tmp_path, grid, hue=None):
    sweep = load_sweep(make_sweep(tmp_path / "s", grid).folder)
    means = as_frame(estimate(sweep.runs, sweep.factors, "segm/AP"))
    band = baseline_spread(sweep.runs, "segm/AP")
    return sweep, means, metric_against_sigma(sweep.runs, means, "segm/AP", hue, {None: band} if band else {})


def snr_axis(ax):
    return next(other for other in ax.figure.axes if other.get_xlabel() == "SNR [dB]")


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
    assert [label.get_text() for label in snr_axis(ax).get_xticklabels()] == ["∞", "20", "0"]


@pytest.mark.parametrize("sigmas", [[0, 0.1, 0.2], [0, 0.01, 0.1, 1.0], [0.3]])
def test_each_snr_stands_above_its_sigma_on_even_and_uneven_axes(tmp_path, sigmas):
    _, _, ax = drawn(tmp_path, {"noise.sigma": sigmas})
    ax.figure.canvas.draw()

    def places(axes):
        return [axes.transData.transform((tick, axes.get_ylim()[0]))[0] for tick in axes.get_xticks()]

    assert places(snr_axis(ax)) == pytest.approx(places(ax))


def test_uneven_strengths_keep_room_between_them(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.01, 0.1, 1.0]})
    places = ax.transAxes.inverted().transform(ax.transData.transform([(s, 38) for s in (0, 0.01, 0.1, 1.0)]))[:, 0]
    assert np.diff(places).min() > 0.1


def test_a_narrow_spread_is_not_blown_up_to_a_cliff(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}, score=lambda _: 38.0).folder)
    means = as_frame(estimate(sweep.runs, sweep.factors, "segm/AP"))
    low, high = metric_against_sigma(sweep.runs, means, "segm/AP").get_ylim()
    assert high - low >= 2.0


def test_every_value_of_the_panels_factors_has_a_panel_and_unswept_ones_none():
    frame = pd.DataFrame([(a, b, c) for a in "xy" for b in "uvw" for c in (1, 2)], columns=["hue", "b", "c"])
    drawn_parts = []
    figure = small_multiples(frame, Layout.of(["hue", "b", "c"]), lambda part, _: drawn_parts.append(part))
    assert len(drawn_parts) == len(figure.axes) == 6
    assert sum(len(part) for part in drawn_parts) == len(frame)
    assert {ax.get_title() for ax in figure.axes} == {f"b={b}\nc={c}" for b in "uvw" for c in (1, 2)}
    assert len(small_multiples(frame, Layout.of([]), lambda *_: None).axes) == 1


def test_the_lowest_panel_of_every_column_has_its_labels():
    frame = pd.DataFrame({"b": list("stuvwxyz")[:6], "hue": 1})
    figure = small_multiples(frame, Layout("hue", "b"), lambda _, ax: ax.set_xlabel("sigma"))
    assert [bool(ax.get_xlabel()) for ax in figure.axes if ax.get_visible()] == [False] * 2 + [True] * 4


def test_forty_strengths_keep_their_labels_apart(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [round(0.025 * i, 3) for i in range(40)]})
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_loss_overlay_has_a_label_for_each_strength(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1]}).folder)
    keys = sweep.runs[["training_id", "noise.sigma", "seed"]].drop_duplicates()
    curves = sweep.curves[sweep.curves["metric"] == "total_loss"].merge(keys, on="training_id")
    ax = loss_overlay(curves, "total_loss", "noise.sigma")
    assert len([line for line in ax.get_lines() if not line.get_label().startswith("_")]) == 2


def test_a_diverged_run_does_not_flatten_the_others():
    curves = pd.DataFrame({"training_id": list("aabbcc"), "noise.sigma": [0, 0, 1, 1, 2, 2], "iteration": [0, 9] * 3})
    ax = loss_overlay(curves.assign(value=[1.0, 0.5, 1.0, 0.6, 1.0, 1e6]), "total_loss", "noise.sigma")
    assert ax.get_yscale() == "log"


def test_drawing_without_axes_makes_a_figure_that_no_global_state_holds():
    curves = pd.DataFrame({"training_id": ["a"], "iteration": [0], "value": [1.0]})
    assert isinstance(loss_overlay(curves, "total_loss").figure, Figure)
