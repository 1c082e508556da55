"""The figures of a report: which of a sweep's factors goes where, and what is drawn for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ablation import plots
from ablation.stats import Range, as_frame, baseline_spread, estimate, is_strength
from ablation.table import SIGMA, Sweep, is_noise

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NAMES = ("metric_against_sigma", "losses")


def figures(sweep: Sweep) -> Iterable[tuple[str, Figure]]:
    """Name and figure of all that the records can show."""
    sigmas = sweep.completed[SIGMA]
    # Where every noise is set by its type's own parameters, only the baseline has a place on the axis of sigma.
    if sweep.primary_metric in sweep.metrics and ((sigmas > 0).any() or sigmas.notna().all()):
        yield "metric_against_sigma", _metric_figure(sweep)
    curves = sweep.curves[sweep.curves["metric"] == "total_loss"]
    if not curves.empty:
        yield "losses", _loss_figure(sweep, curves, "total_loss")


def _metric_figure(sweep: Sweep) -> Figure:
    metric, rows = sweep.primary_metric, sweep.runs[sweep.runs[SIGMA].notna()]
    factors = [f for f in sweep.varied if f != SIGMA and rows[f].map(str).nunique() > 1]
    factors = [f for f in factors if not is_strength(rows, f)]
    means = as_frame(estimate(rows, (*factors, SIGMA), metric))
    layout = plots.Layout.of(factors)
    panel = [f for f in (layout.across, *layout.down) if f]
    sigmas = sorted(set(sweep.completed[SIGMA].dropna()))

    def draw(runs: pd.DataFrame, ax: Any) -> None:
        here = means.merge(runs[panel].drop_duplicates()) if panel else means
        plots.metric_against_sigma(runs, here, metric, layout.hue, _bands(runs, metric, layout.hue), sigmas, ax)

    return plots.small_multiples(rows, layout, draw, layout.hue or "")


def _bands(runs: pd.DataFrame, metric: str, hue: str | None) -> dict[Any, Range]:
    """The null band of a panel: one for all hues where they share the baseline, one for each where they do not."""
    parts = {None: runs} if hue is None or is_noise(hue) else dict(list(runs.groupby(hue, sort=False)))
    spreads = {value: baseline_spread(part, metric) for value, part in parts.items()}
    return {value: found for value, found in spreads.items() if found}


def _loss_figure(sweep: Sweep, curves: pd.DataFrame, metric: str) -> Figure:
    factors = _training_factors(sweep)
    others = [f for f in factors if f != SIGMA]
    hue = SIGMA if SIGMA in factors else next(iter(others), None)
    layout = plots.Layout.of([hue, *(f for f in others if f != hue)] if hue else [])
    # A training id names its content: where two sweeps hold the same training, one of the copies is enough.
    points = curves.drop_duplicates(["training_id", "iteration"])[["training_id", "iteration", "value"]]
    labelled = sweep.runs[["training_id", *factors]].drop_duplicates().merge(points, on="training_id")

    def draw(part: pd.DataFrame, ax: Any) -> None:
        plots.loss_overlay(part, metric, hue, ax)

    return plots.small_multiples(labelled, layout, draw, hue or "")


def _training_factors(sweep: Sweep) -> list[str]:
    """The varied factors that change a training; noise.when=train,always shares one."""
    kept = list(sweep.varied)
    for factor in reversed(sweep.varied):
        rest = [f for f in kept if f != factor]
        if sweep.runs.groupby([*rest, "seed"], dropna=False)["training_id"].nunique().max() == 1:
            kept = rest
    return kept
