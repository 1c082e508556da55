"""Figures by the data that they draw."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn.objects as so
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from sweep_factory import make_sweep

from ablation.records.schema import Status
from ablation.report.figures.losses import draw_curves
from ablation.report.figures.scores import draw_scores
from ablation.report.figures.style import assign_panels, small_multiples, style
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.estimates import as_frame, estimate


@pytest.fixture(autouse=True)
def styled():
    with style():
        yield


def drawn(tmp_path, grid, hue=None):
    sweep = load_sweep(make_sweep(tmp_path / "s", grid).folder)
    means = as_frame(estimate(sweep.runs, sweep.factors, "segm/AP"))
    return sweep, means, draw_scores(sweep.runs, means, "segm/AP", hue).axes[0]


def snr_axis(ax):
    return next(other for other in ax.child_axes if other.get_xlabel() == "SNR [dB]")


def sigma_places(ax):
    """The labels of all ticks and their places, 0 to 1."""
    ticks = [(tick, 0) for tick in ax.get_xticks()]
    places = ax.transAxes.inverted().transform(ax.transData.transform(ticks))[:, 0]
    return [label.get_text() for label in ax.get_xticklabels()], places


def bars(ax):
    """The intervals, as vertical segments."""
    return [
        segment for lines in ax.collections if isinstance(lines, LineCollection) for segment in lines.get_segments()
    ]


def test_every_seed_is_a_point_and_the_line_is_their_mean(tmp_path):
    sweep, means, ax = drawn(tmp_path, {"noise.sigma": [0, 0.1, 0.5], "seed": [0, 1, 2]})
    (points,) = (marks.get_offsets() for marks in ax.collections if isinstance(marks, PathCollection))
    assert sorted(points[:, 1]) == pytest.approx(sorted(sweep.runs["segm/AP"]))
    (line,) = ax.get_lines()
    means = means.sort_values("noise.sigma")
    assert list(line.get_xdata()) == pytest.approx(list(means["noise.sigma"]))
    assert list(line.get_ydata()) == pytest.approx(list(means["value"]))


def test_each_bar_is_the_interval_of_its_mean(tmp_path):
    _, means, ax = drawn(tmp_path, {"noise.sigma": [0, 0.1, 0.5], "seed": [0, 1, 2]})
    ends = [sorted(segment[:, 1]) for segment in sorted(bars(ax), key=lambda segment: segment[0, 0])]
    assert np.allclose(ends, means.sort_values("noise.sigma")[["value_low", "value_high"]])


def test_the_band_is_the_range_of_the_baseline(tmp_path):
    sweep, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.5], "seed": [0, 1, 2]})
    baseline = sweep.runs[sweep.runs["noise.sigma"] == 0]["segm/AP"]
    spans = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches]
    assert any(s.y0 == pytest.approx(baseline.min()) and s.y1 == pytest.approx(baseline.max()) for s in spans)


def test_one_seed_draws_no_interval_and_no_band(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.1]})
    assert not bars(ax)
    assert not ax.patches


def test_the_second_axis_is_the_snr(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.1, 1.0]})
    assert [label.get_text() for label in snr_axis(ax).get_xticklabels()] == ["∞", "20", "0"]


@pytest.mark.parametrize("sigmas", [[0, 0.1, 0.2], [0, 0.01, 0.1, 1.0], [0.3]])
def test_each_snr_stands_above_its_sigma_on_even_and_uneven_axes(tmp_path, sigmas):
    _, _, ax = drawn(tmp_path, {"noise.sigma": sigmas})
    ax.figure.draw_without_rendering()

    def places(axes):
        return [axes.transData.transform((tick, axes.get_ylim()[0]))[0] for tick in axes.get_xticks()]

    assert places(snr_axis(ax)) == pytest.approx(places(ax))


def test_uneven_strengths_keep_room_between_them(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.01, 0.1, 1.0]})
    _, places = sigma_places(ax)
    assert np.diff(places).min() > 0.1


def test_marks_stand_above_the_tick_of_their_sigma(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [0, 0.01, 0.1, 1.0]})
    labels, places = sigma_places(ax)
    (line,) = ax.get_lines()
    drawn_at = ax.transAxes.inverted().transform(ax.transData.transform(line.get_xydata()))[:, 0]
    assert labels == ["0", "0.01", "0.1", "1"]
    assert drawn_at == pytest.approx(places)


def test_a_narrow_spread_is_not_blown_up_to_a_cliff(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}, score=lambda _: 38.0).folder)
    means = as_frame(estimate(sweep.runs, sweep.factors, "segm/AP"))
    low, high = draw_scores(sweep.runs, means, "segm/AP").axes[0].get_ylim()
    assert high - low >= 2.0


def panels(frame, hue, factors):
    frame = assign_panels(frame.assign(x=range(len(frame))), hue, factors)
    return small_multiples(so.Plot(frame, x="x", y="x").add(so.Dots()).label(x="sigma"), frame)


def test_every_value_of_the_panels_factors_has_a_panel_and_unswept_ones_none():
    frame = pd.DataFrame([(a, b, c) for a in "xy" for b in "uvw" for c in (1, 2)], columns=["hue", "b", "c"])
    figure = panels(frame, "hue", ["b", "c"])
    counts = [sum(len(marks.get_offsets()) for marks in ax.collections) for ax in figure.axes]
    assert len(figure.axes) == 6
    assert counts == [2] * 6
    assert {ax.get_title() for ax in figure.axes} == {f"b={b}\nc={c}" for b in "uvw" for c in (1, 2)}
    assert len(panels(frame, None, []).axes) == 1


def test_a_panel_without_a_cell_says_so():
    frame = pd.DataFrame({"b": list("uuv"), "c": [1, 2, 1]})
    texts = [text.get_text() for ax in panels(frame, None, ["b", "c"]).axes for text in ax.texts]
    assert texts == ["no such cell"]


def test_the_lowest_panel_of_every_column_has_its_labels():
    figure = panels(pd.DataFrame({"b": list("stuvwxyz")[:6], "hue": 1}), "hue", ["b"])
    assert [ax.xaxis.label.get_visible() for ax in figure.axes] == [False] * 2 + [True] * 4


def test_forty_strengths_keep_their_labels_apart(tmp_path):
    _, _, ax = drawn(tmp_path, {"noise.sigma": [round(0.025 * i, 3) for i in range(40)]})
    ax.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_loss_overlay_has_a_label_for_each_strength(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1]}).folder)
    keys = sweep.runs[["training_id", "noise.sigma", "seed"]].drop_duplicates()
    curves = sweep.curves[sweep.curves["metric"] == "total_loss"].merge(keys, on="training_id")
    (legend,) = draw_curves(curves, "noise.sigma").legends
    assert [text.get_text() for text in legend.get_texts()] == ["baseline, 0", "0.1"]


def test_a_seed_that_diverged_is_a_cross_at_the_lower_edge(tmp_path):
    def status(config):
        return Status.DIVERGED if config["noise.sigma"] and config["seed"] == 1 else Status.COMPLETED

    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.5], "seed": [0, 1]}, status=status).folder)
    means = as_frame(estimate(sweep.runs, sweep.factors, "segm/AP"))
    ax = draw_scores(sweep.runs, means, "segm/AP").axes[0]
    low, high = ax.get_ylim()
    marks = [tuple(p) for c in ax.collections if isinstance(c, PathCollection) for p in c.get_offsets()]
    edge = [p for p in marks if p[1] < low + 0.03 * (high - low)]
    assert edge == [pytest.approx((0.5, low + 0.02 * (high - low)))]
    assert len(marks) == 4


def test_a_diverged_run_does_not_flatten_the_others():
    curves = pd.DataFrame({"training_id": list("aabbcc"), "noise.sigma": [0, 0, 1, 1, 2, 2], "iteration": [0, 9] * 3})
    (ax,) = draw_curves(curves.assign(value=[1.0, 0.5, 1.0, 0.6, 1.0, 1e6]), "noise.sigma").axes
    low, middle, high = ax.transData.transform([(0, 1), (0, 1e3), (0, 1e6)])[:, 1]
    assert middle - low == pytest.approx(high - middle)  # decades are equally far apart


def test_a_figure_is_held_by_no_global_state():
    curves = pd.DataFrame({"training_id": ["a"], "iteration": [0], "value": [1.0]})
    figure = draw_curves(curves)
    assert isinstance(figure, Figure)
    assert not plt.get_fignums()
    assert len(figure.axes[0].collections[-1].get_offsets()) == 1  # a single point has a mark
