"""The figures of a report: which there are, and which of a sweep's factors goes where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ablation import charts, plots, views
from ablation.factors import SIGMA, is_noise
from ablation.look import Layout, small_multiples
from ablation.results import Findings
from ablation.stats import Range, as_frame, baseline_spread, estimate, is_strength
from ablation.table import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    *("metric_against_sigma", "differences", "levels", "losses"),
    *("detections", "test_matrix", "test_noise", "corruptions", "error_shift", "classes", "cost"),
)
_MOST_ROWS = 60  # more would be a poster; the tables hold them all
_MOST_CELLS = 24
_MOST_PICTURES = 4
_MOST_POINTS = 200_000
_LOSSES = {"total_loss": "training loss, noise on", "validation/total_loss": "loss on test images, noise off"}


def figures(findings: Findings) -> Iterable[tuple[str, Figure]]:
    """Name and figure of all that the records can show."""
    sweep = findings.sweep
    sigmas = sweep.completed[SIGMA]
    # Where every noise is set by its type's own parameters, only the baseline has a place on the axis of sigma.
    if sweep.primary_metric in sweep.metrics and ((sigmas > 0).any() or sigmas.notna().all()):
        yield "metric_against_sigma", _metric_figure(sweep)
    if 1 < len(rows := _intervals(findings)) <= _MOST_ROWS:
        yield "differences", charts.forest(rows, sweep.primary_metric)
    if (levels := views.by_level(findings)) is not None:
        yield (
            "levels",
            charts.heat_map(levels, str(levels.columns.name), f"difference in {sweep.primary_metric}", is_signed=True),
        )
    curves = sweep.curves[sweep.curves["metric"].isin(_LOSSES)]
    if not curves.empty:
        yield "losses", _loss_figure(sweep, curves)
    if pictures := views.pictures(sweep, _MOST_PICTURES):
        yield "detections", charts.gallery(pictures)
    yield from _robustness_figures(sweep)
    yield from _cost_figures(sweep)


def _robustness_figures(sweep: Sweep) -> Iterable[tuple[str, Figure]]:
    metric = sweep.primary_metric
    matrix = views.train_by_test(sweep)
    if matrix is not None and matrix.shape[1] > 1:
        if len(matrix) <= _MOST_CELLS:
            yield "test_matrix", charts.heat_map(matrix, "test noise, sigma", f"{metric} [%]")
        yield "test_noise", charts.cell_lines(views.test_curves(sweep), "test", metric, "sigma of the test noise")
    if not sweep.corruptions.empty:
        yield "corruptions", charts.cell_lines(views.corruption_curves(sweep), "corruption", metric, "severity")
    if not sweep.error_shift.empty and not (kinds := views.error_kinds(sweep)).empty:
        yield "error_shift", charts.kind_dots(kinds, "points of AP50")
    classes = views.class_differences(sweep)
    if classes is not None and len(classes) <= _MOST_CELLS:
        yield "classes", charts.heat_map(classes, "class", "difference in AP", is_signed=True)


def _cost_figures(sweep: Sweep) -> Iterable[tuple[str, Figure]]:
    points = views.costs(sweep)
    if 1 < points["cell"].nunique() <= _MOST_ROWS:
        yield "cost", charts.ratio_dots(points)


def _intervals(findings: Findings) -> list[charts.Interval]:
    sweep = findings.sweep
    return [
        charts.Interval(
            name=views.estimate_name(sweep, e),
            value=e.difference,
            low=e.difference_interval.low if e.difference_interval else None,
            high=e.difference_interval.high if e.difference_interval else None,
            points=list(e.differences.values()),
            is_claimed=e.verdict is not None and e.verdict.is_claimed,
        )
        for e in findings.outcome.compared
        if e.difference is not None
    ]


def _metric_figure(sweep: Sweep) -> Figure:
    metric, rows = sweep.primary_metric, sweep.runs[sweep.runs[SIGMA].notna()]
    factors = [f for f in sweep.varied if f != SIGMA and rows[f].map(str).nunique() > 1]
    factors = [f for f in factors if not is_strength(rows, f)]
    means = as_frame(estimate(rows, (*factors, SIGMA), metric))
    layout = Layout.of(factors)
    panel = [f for f in (layout.across, *layout.down) if f]
    sigmas = sorted(set(sweep.completed[SIGMA].dropna()))

    def draw(runs: pd.DataFrame, ax: Any) -> None:
        here = means.merge(runs[panel].drop_duplicates()) if panel else means
        plots.metric_against_sigma(runs, here, metric, layout.hue, _bands(runs, metric, layout.hue), sigmas, ax)

    return small_multiples(rows, layout, draw, layout.hue or "")


def _bands(runs: pd.DataFrame, metric: str, hue: str | None) -> dict[Any, Range]:
    """The null band of a panel: one for all hues where they share the baseline, one for each where they do not."""
    parts = {None: runs} if hue is None or is_noise(hue) else dict(list(runs.groupby(hue, sort=False)))
    spreads = {value: baseline_spread(part, metric) for value, part in parts.items()}
    return {value: found for value, found in spreads.items() if found}


def _loss_figure(sweep: Sweep, curves: pd.DataFrame) -> Figure:
    """The training loss, and beside it the validation loss where it was asked for."""
    factors = _training_factors(sweep)
    others = [f for f in factors if f != SIGMA]
    hue = SIGMA if SIGMA in factors else next(iter(others), None)
    if len(curves) > _MOST_POINTS:  # every nth logged iteration of all: more are not told apart
        iterations = np.sort(curves["iteration"].unique())
        curves = curves[curves["iteration"].isin(iterations[:: len(curves) // _MOST_POINTS + 1])]
    # A training id names its content: where two sweeps hold the same training, one of the copies is enough.
    points = curves.drop_duplicates(["training_id", "metric", "iteration"])
    points = points[["training_id", "iteration", "value"]].assign(loss=points["metric"].map(_LOSSES))
    labelled = sweep.runs[["training_id", *factors]].drop_duplicates().merge(points, on="training_id")
    kinds = ["loss"] if labelled["loss"].nunique() > 1 else []
    panels = [*kinds, *(f for f in others if f != hue)]
    layout = Layout(hue, panels[0] if panels else None, tuple(panels[1:]))

    def draw(part: pd.DataFrame, ax: Any) -> None:
        plots.loss_overlay(part, "total_loss", hue, ax)

    return small_multiples(labelled, layout, draw, hue or "")


def _training_factors(sweep: Sweep) -> list[str]:
    """The varied factors that change a training; noise.when=train,always shares one."""
    kept = list(sweep.varied)
    for factor in reversed(sweep.varied):
        rest = [f for f in kept if f != factor]
        if sweep.runs.groupby([*rest, "seed"], dropna=False)["training_id"].nunique().max() == 1:
            kept = rest
    return kept
