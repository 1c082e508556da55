"""The score over sigma: every seed, the mean over seeds with its interval, and the range of the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn.objects as so
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ablation.records.schema import Status
from ablation.report.figures.style import BASELINE, assign_panels, kind_scales, place_legend, small_multiples
from ablation.report.loading.factors import SIGMA, is_noise
from ablation.report.statistics.estimates import as_frame, baseline_spread, estimate, is_strength
from ablation.report.statistics.findings import Findings

_GREY = "#666666"


def metric_against_sigma(findings: Findings) -> Figure | None:
    """Draw the primary metric of all runs with a known sigma; the first factor beside it is shown by colour."""
    sweep, metric = findings.sweep, findings.sweep.primary_metric
    sigmas = sweep.completed[SIGMA]
    # Where every noise is set by its type's own parameters, only the baseline has a place on the axis of sigma.
    if metric not in sweep.metrics or not ((sigmas > 0).any() or sigmas.notna().all()):
        return None
    runs = sweep.runs[sweep.runs[SIGMA].notna()]
    if runs[metric].isna().all():  # of large objects, where there are none
        return None
    factors = [f for f in sweep.varied if f != SIGMA and runs[f].map(str).nunique() > 1 and not is_strength(runs, f)]
    hue = factors[0] if factors else None
    return draw_scores(runs, as_frame(estimate(runs, (*factors, SIGMA), metric)), metric, hue, factors[1:])


def draw_scores(
    runs: pd.DataFrame, means: pd.DataFrame, metric: str, hue: str | None = None, factors: Sequence[str] = ()
) -> Figure:
    """Draw a metric in percent against sigma: each seed a mark, the mean a line, its interval a bar.

    A seed whose training diverged and that has no score is a cross at the lower edge.

    Args:
        runs: one row for each cell, as `Sweep.runs`.
        means: one row for each group of cells, as `as_frame` gives them.
        metric: the column of `runs`.
        hue: the factor that colours show.
        factors: those that panels show.
    """
    runs = assign_panels(runs[runs[SIGMA].notna()], hue, factors)
    diverged = runs[(runs["status"] == Status.DIVERGED.value) & runs[metric].isna()]
    runs = runs[runs[metric].notna()]
    means = means.astype({"value": float, "value_low": float, "value_high": float})  # all None with one seed
    means = assign_panels(means[means["value"].notna() & means[SIGMA].notna()], hue, factors)
    sigmas = sorted({*runs[SIGMA], *diverged[SIGMA]})
    hues = list(dict.fromkeys((*means["hue"], *diverged["hue"])))
    steps = np.diff(sigmas)
    is_uneven = len(steps) > 1 and steps.max() > 4.5 * steps.min()
    unit = min((s for s in sigmas if s > 0), default=1.0)

    def place(values: Any) -> Any:
        # Uneven steps (0, 0.01, 0.1, 1) get logarithmic distances; adding 1 keeps sigma 0 on the axis.
        return np.log10(1 + np.asarray(values) / unit) if is_uneven else np.asarray(values)

    places = place(sigmas)
    span = float(np.ptp(places)) or 1.0
    # Shift colours at the same sigma side by side, unless so many sigmas leave no room between them.
    step = 0.0 if len(sigmas) > 12 else 0.02 * span / max(1, len(hues) / 3)
    shifts = {value: step * (index - (len(hues) - 1) / 2) for index, value in enumerate(hues)}
    runs, means, diverged = (
        frame.assign(x=place(frame[SIGMA]) + frame["hue"].map(shifts).astype(float))
        for frame in (runs, means, diverged)
    )
    limits = (float(places.min()) - 0.06 * span, float(places.max()) + 0.06 * span)
    is_shared = hue is None or is_noise(hue)  # sigma 0 is the same baseline for all kinds of noise
    bands = _null_bands(runs, metric, is_shared)
    shared = {"color": None, "marker": None} if is_shared else {}

    low, high = _limits_of_scores(runs[metric], means, bands)
    edges = bands.merge(pd.DataFrame({"x": limits}), how="cross")
    crosses = [diverged.assign(edge=low + 0.02 * (high - low))] if len(diverged) else []
    frame = pd.concat([runs, means, edges, *crosses], ignore_index=True)
    plot = (
        so.Plot(frame, x="x", color="hue", marker="hue")
        .add(so.Band(color=BASELINE, alpha=0.12, edgewidth=0), ymin="low", ymax="high", legend=False, **shared)
        .add(so.Line(linewidth=1.6, pointsize=4.5, edgewidth=0), y="value")
        .add(so.Range(linewidth=1, alpha=0.7), ymin="value_low", ymax="value_high", legend=False)
        .add(so.Dot(fill=False, pointsize=5.5, stroke=0.8, alpha=0.75), y=metric, legend=False)
        .scale(**kind_scales(hues))
        .limit(x=limits, y=(low, high))
        .label(x=f"{SIGMA} (noise-to-signal ratio)", y=f"{metric} [%]")
    )
    if crosses:
        plot = plot.add(so.Dot(marker="x", pointsize=5, stroke=1.2), y="edge", marker=None, legend=False)
    figure = small_multiples(plot, runs)
    for ax in figure.axes:
        _label_sigmas(ax, sigmas, places)
    band = {"baseline, range over seeds": Patch(color=BASELINE, alpha=0.12, linewidth=0)} if len(bands) else {}
    place_legend(figure, hue or "", band)
    return figure


def _null_bands(runs: pd.DataFrame, metric: str, is_shared: bool) -> pd.DataFrame:
    """Find the range of the baseline in each panel, and for each hue where the hues have baselines of their own."""
    keys = ["column", "row"] if is_shared else ["column", "row", "hue"]
    spreads = {key: baseline_spread(part, metric) for key, part in runs.groupby(keys, sort=False)}
    rows = [(*key, *spread) for key, spread in spreads.items() if spread]
    return pd.DataFrame(rows, columns=[*keys, "low", "high"]).astype({"low": float, "high": float})


def _limits_of_scores(values: pd.Series[float], means: pd.DataFrame, bands: pd.DataFrame) -> tuple[float, float]:
    """Limit y to the marks and to intervals not much wider: those of two seeds would leave nothing else visible."""
    drawn = np.concatenate([values, means["value"], *bands[["low", "high"]].to_numpy(dtype=float)])
    low, high = float(drawn.min()), float(drawn.max())
    # At least two points of AP: a narrower axis would make the noise of one seed look like a cliff.
    lack = max(0.0, 2.0 - (high - low)) / 2
    low, high = low - lack, high + lack
    room = high - low
    bars = means[["value_low", "value_high"]].dropna().to_numpy(dtype=float)
    if len(bars):
        low, high = max(min(low, bars.min()), low - 0.4 * room), min(max(high, bars.max()), high + 0.4 * room)
    return low - 0.08 * room, high + 0.08 * room


def _label_sigmas(ax: Axes, sigmas: Sequence[float], places: Any) -> None:
    """Put a tick at each sigma, labels where they have room, and the SNR in dB above."""
    grid = ax.get_subplotspec()
    assert grid is not None
    width = 0.85 * (
        ax.figure.get_figure(root=True).get_figwidth() / grid.get_gridspec().ncols - 0.5
    )  # inches, before the layout is done
    inches = width / (float(np.ptp(places)) or 1.0)
    labelled: list[int] = []
    for i in dict.fromkeys([0, len(sigmas) - 1, *range(len(sigmas))]):  # both ends first, then from the left
        room = max(0.05 + 0.065 * len(f"{sigmas[i]:g}"), 0.3)
        if all(abs(places[i] - places[j]) * inches >= room for j in labelled):
            labelled.append(i)
    major = [places[i] for i in sorted(labelled)]
    major_sigmas = [sigmas[i] for i in sorted(labelled)]
    ax.set_xticks(major, [f"{s:g}" for s in major_sigmas])
    ax.set_xticks([place for place in places if place not in major], minor=True)
    top = ax.secondary_xaxis("top")
    top.set_xticks(major, ["∞" if s == 0 else str(round(-20 * math.log10(s))) for s in major_sigmas])
    top.tick_params(length=2, colors=_GREY, labelsize=8)
    top.spines[:].set_visible(False)
    if grid.is_first_row():
        top.set_xlabel("SNR [dB]", color=_GREY, fontsize=8)
