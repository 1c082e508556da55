"""Curves of the losses, smoothed, with the range over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn.objects as so
from matplotlib.figure import Figure

from ablation.report.figures.style import MANY, assign_panels, colours, place_legend, small_multiples, subsample_evenly
from ablation.report.loading.factors import SIGMA
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.findings import Findings

_LOSSES = {"total_loss": "training loss, noise on", "validation/total_loss": "loss on test images, noise off"}
_MAX_POINTS = 200_000
_MAX_CURVES = 30  # in one panel; of more, as many at even distances
_BASELINE = "baseline, 0"


def losses(findings: Findings) -> Figure | None:
    """Draw the training loss and, if evaluation.loss_period was set, the validation loss beside it."""
    sweep = findings.sweep
    curves = sweep.curves[sweep.curves["metric"].isin(_LOSSES)]
    if curves.empty:
        return None
    factors = _training_factors(sweep)
    hue = SIGMA if SIGMA in factors else next(iter(factors), None)
    if len(curves) > _MAX_POINTS:  # every nth logged iteration of all: more cannot be distinguished
        iterations = np.sort(curves["iteration"].unique())
        curves = curves[curves["iteration"].isin(iterations[:: len(curves) // _MAX_POINTS + 1])]
    # A training id names its content: where two sweeps hold the same training, one of the copies is enough.
    points = curves.drop_duplicates(["training_id", "metric", "iteration"])
    points = points[["training_id", "iteration", "value"]].assign(loss=points["metric"].map(_LOSSES))
    labelled = sweep.runs[["training_id", *factors]].drop_duplicates().merge(points, on="training_id")
    kinds = ["loss"] if labelled["loss"].nunique() > 1 else []
    return draw_curves(labelled, hue, [*kinds, *(f for f in factors if f != hue)])


def draw_curves(curves: pd.DataFrame, hue: str | None = None, factors: Sequence[str] = ()) -> Figure:
    """Draw training curves over one another: thin as logged, thick smoothed, a band over seeds where there are some.

    Args:
        curves: columns training_id, iteration, value and all factors; one row for each logged point.
        hue: the factor that colours show.
        factors: those that panels show.
    """
    values = subsample_evenly(curves[hue].dropna().unique().tolist(), _MAX_CURVES) if hue else []
    curves = assign_panels(curves[curves[hue].isin(values)] if hue else curves, hue, factors)
    baselines = [_BASELINE] if hue == SIGMA and 0 in values else []
    if baselines:
        curves["hue"] = curves["hue"].replace("0", _BASELINE)
    keys = ["column", "row", "hue"]
    smooth = curves.groupby(keys, sort=False)[["training_id", "iteration", "value"]].apply(_smooth).reset_index()
    smooth["single"] = smooth["mean"].where(smooth.groupby(keys)["mean"].transform("size") == 1)
    order = list(dict.fromkeys(curves["hue"]))
    is_few = len(order) <= MANY
    plot = so.Plot(pd.concat([curves, smooth], ignore_index=True), x="iteration", color="hue")
    if is_few:
        plot = plot.add(so.Lines(linewidth=0.6, alpha=0.3), y="value", group="training_id", legend=False)
        plot = plot.add(so.Band(alpha=0.15, edgewidth=0), ymin="low", ymax="high", legend=False)
    plot = (
        plot.add(so.Line(linewidth=1.8 if is_few else 1.1), y="mean")
        .add(so.Dot(), y="single", legend=False)  # a line of one point is invisible
        .scale(color=so.Nominal(colours(order, baselines, is_strength=hue == SIGMA), order=order))
        .label(y="total_loss")
    )
    tops = smooth.groupby(keys)["mean"].max()
    if tops.max() > 20 * tops.median():  # a diverged run would flatten all others
        plot = plot.scale(y="log")
    figure = small_multiples(plot, curves)
    place_legend(figure, hue or "")
    return figure


def _smooth(points: pd.DataFrame) -> pd.DataFrame:
    """Smooth each seed's curve by a running mean over an eighth of it; returns mean and range over seeds."""
    seeds = points.pivot(index="iteration", columns="training_id", values="value")
    smooth = seeds.rolling(max(3, len(seeds) // 8), center=True, min_periods=1).mean()
    return pd.DataFrame({"mean": smooth.mean(axis=1), "low": smooth.min(axis=1), "high": smooth.max(axis=1)})


def _training_factors(sweep: Sweep) -> list[str]:
    """Find the varied factors that change a training; noise.when=train,always shares one."""
    needed = list(sweep.varied)
    for factor in reversed(sweep.varied):
        rest = [f for f in needed if f != factor]
        if sweep.runs.groupby([*rest, "seed"], dropna=False)["training_id"].nunique().max() == 1:
            needed = rest
    return needed
