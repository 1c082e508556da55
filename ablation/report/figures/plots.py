"""A metric against sigma, and training curves: frames go in, Axes come out. No files, no statistics but smoothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.transforms import ScaledTranslation

from ablation.report.figures.style import (
    BASELINE,
    KINDS,
    MANY,
    MARKERS,
    colours,
    hue_values,
    label,
    select_rows,
    single,
    subsample_evenly,
)
from ablation.report.loading.factors import SIGMA

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

_MOST_CURVES = 30  # hues in one panel; of more, as many at even distances


def metric_against_sigma(
    runs: pd.DataFrame,
    means: pd.DataFrame,
    metric: str,
    hue: str | None = None,
    bands: Mapping[Any, tuple[float, float]] | None = None,
    sigmas: Sequence[float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A metric (percent) against noise.sigma: each seed a point, the mean a line, its interval a bar.

    runs: one row per cell (Sweep.runs); means: one row per cell group (stats.as_frame); rows without a value or
    without a sigma are not drawn. bands: lowest and highest baseline (percent) by value of hue, or under None when
    one baseline serves all; drawn as null bands. sigmas: of the axis; by default those of runs.
    """
    ax = ax or single()
    runs, means = runs[runs[metric].notna() & runs[SIGMA].notna()], means[means["value"].notna() & means[SIGMA].notna()]
    bands, sigmas = bands or {}, sorted(set(runs[SIGMA])) if sigmas is None else sigmas
    if None in bands:
        _draw_band(ax, bands[None], BASELINE)
    values = hue_values(means, hue)
    for index, value in enumerate(values):
        look = {"color": KINDS[index % len(KINDS)], "marker": MARKERS[index % len(MARKERS)]}
        shift = _dodge(ax, index, len(values), len(sigmas))
        if value in bands and value is not None:
            _draw_band(ax, bands[value], look["color"])
        _draw_means(ax, select_rows(means, hue, value), label(value), look, shift)
        _draw_points(ax, select_rows(runs, hue, value), metric, look, shift)
    _fit_to_points(ax, runs[metric].to_numpy(dtype=float), means, list(bands.values()))
    _scale_sigma(ax, sigmas)
    ax.set(xlabel=f"{SIGMA} (noise-to-signal ratio)", ylabel=f"{metric} [%]")
    return ax


def loss_overlay(curves: pd.DataFrame, name: str, hue: str | None = None, ax: Axes | None = None) -> Axes:
    """Training curves laid over one another: thin as logged, thick smoothed, a band over seeds where there are some.

    curves: columns training_id, iteration, value and hue; one row per logged point. name: of the metric.
    """
    ax = ax or single()
    values = subsample_evenly(hue_values(curves, hue), _MOST_CURVES)
    palette = colours(values, is_strength=hue == SIGMA)
    shown = set(subsample_evenly(values))
    tops = []
    for value, colour in zip(values, palette, strict=True):
        name_of = label(value, "baseline, 0" if hue == SIGMA and value == 0 else None)
        group = select_rows(curves, hue, value)
        tops.append(_draw_curve(ax, group, colour, name_of if value in shown else None, len(values) <= MANY))
    finite = [t for t in tops if math.isfinite(t)]
    if finite and max(finite) > 20 * float(np.median(finite)):  # a diverged run would flatten all others
        ax.set_yscale("log")
    ax.set(xlabel="iteration", ylabel=name)
    ax.margins(x=0.01)
    return ax


def _draw_band(ax: Axes, band: tuple[float, float], colour: str) -> None:
    ax.axhspan(*band, color=colour, alpha=0.12, linewidth=0, label="baseline, range over seeds")


def _draw_points(ax: Axes, runs: pd.DataFrame, metric: str, look: Mapping[str, Any], shift: Transform) -> None:
    ax.plot(
        runs[SIGMA], runs[metric], linestyle="none", markersize=5.5, markerfacecolor="none", markeredgewidth=0.8,
        alpha=0.75, transform=shift, **look,
    )  # fmt: skip


def _draw_means(ax: Axes, means: pd.DataFrame, label: str, look: Mapping[str, Any], shift: Transform) -> None:
    means = means.sort_values(SIGMA, kind="stable")
    ax.plot(means[SIGMA], means["value"], linewidth=1.6, markersize=4, label=label, transform=shift, **look)
    bars = means[means["value_low"].notna()]
    if not bars.empty:
        reach = (bars["value"] - bars["value_low"], bars["value_high"] - bars["value"])
        ax.errorbar(
            bars[SIGMA], bars["value"], reach, fmt="none", ecolor=look["color"], elinewidth=0.9, capsize=2, alpha=0.6,
            transform=shift,
        )  # fmt: skip


def _dodge(ax: Axes, index: int, hues: int, sigmas: int) -> Transform:
    """A few points of shift so that hues at the same sigma do not cover one another."""
    points = 0.0 if sigmas > 12 else 4.0 * (index - (hues - 1) / 2) / max(1, hues / 3)
    return ax.transData + ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)


def _fit_to_points(ax: Axes, values: Any, means: pd.DataFrame, bands: Sequence[tuple[float, float]]) -> None:
    """Limit y to the points and to intervals not much wider: those of two seeds would leave nothing else visible."""
    drawn = np.concatenate([values, means["value"].to_numpy(dtype=float), np.ravel(bands)])
    if not len(drawn):
        return
    low, high = float(drawn.min()), float(drawn.max())
    # At least two points of AP: a narrower axis would make the noise of one seed look like a cliff.
    lack = max(0.0, 2.0 - (high - low)) / 2
    low, high = low - lack, high + lack
    room = high - low
    bars = means[["value_low", "value_high"]].dropna().to_numpy(dtype=float)
    if len(bars):
        low, high = max(min(low, bars.min()), low - 0.4 * room), min(max(high, bars.max()), high + 0.4 * room)
    # Panels share y: a panel may only widen what another one has set.
    if ax.get_autoscaley_on():
        ax.set_ylim(low - 0.08 * room, high + 0.08 * room)
    else:
        before = ax.get_ylim()
        ax.set_ylim(min(before[0], low - 0.08 * room), max(before[1], high + 0.08 * room))


def _scale_sigma(ax: Axes, sigmas: Sequence[float]) -> None:
    """Uneven steps (0, 0.01, 0.1, 1) get a logarithmic axis that still holds 0; a tick each, labels where they fit."""
    positive = [s for s in sigmas if s > 0]
    if not sigmas:
        return
    steps = np.diff(sigmas)
    if len(steps) > 1 and steps.max() > 4.5 * steps.min():
        ax.set_xscale("symlog", linthresh=min(positive), linscale=0.6, subs=[])
    place = ax.xaxis.get_transform().transform(np.array(sigmas, dtype=float))
    span = float(place.max() - place.min()) or 1.0
    edges = np.array([place.min() - 0.06 * span, place.max() + 0.06 * span])
    limits = ax.xaxis.get_transform().inverted().transform(edges)
    ax.set_xlim(*limits)
    labelled = _fitting(sigmas, (place - place.min()) / span, _width(ax))
    ax.set_xticks(labelled, [f"{s:g}" for s in labelled])
    ax.set_xticks([s for s in sigmas if s not in labelled], minor=True)
    _add_snr(ax, labelled)


def _add_snr(ax: Axes, sigmas: Sequence[float]) -> None:
    top = ax.twiny()  # not secondary_xaxis, which takes the scale for linear
    if ax.get_xscale() == "symlog":
        scale: Any = ax.xaxis.get_transform()
        top.set_xscale("symlog", linthresh=scale.linthresh, linscale=scale.linscale)
    top.set_xlim(*ax.get_xlim())
    top.set_xticks(sigmas, ["∞" if s == 0 else str(round(-20 * math.log10(s))) for s in sigmas])
    top.set_xticks([], minor=True)
    top.grid(visible=False)
    top.tick_params(length=2, colors="#666666", labelsize=8)
    grid = ax.get_subplotspec()
    if grid is None or grid.is_first_row():
        top.set_xlabel("SNR [dB]", color="#666666", fontsize=8)


def _width(ax: Axes) -> float:
    """Of the axes, in inches, before the layout has settled."""
    grid = ax.get_subplotspec()
    columns = grid.get_gridspec().ncols if grid else 1
    return 0.85 * float(ax.figure.get_figure(root=True).get_figwidth() / columns - 0.5)


def _fitting(sigmas: Sequence[float], places: Any, width: float) -> list[float]:
    """The sigmas whose labels find room: both ends first, then from the left. places: 0..1; width: inches."""
    order = list(dict.fromkeys([0, len(sigmas) - 1, *range(len(sigmas))]))
    kept: list[int] = []
    for i in order:
        room = 0.05 + 0.065 * len(f"{sigmas[i]:g}")
        if all(abs(places[i] - places[j]) * width >= max(room, 0.3) for j in kept):
            kept.append(i)
    return [sigmas[i] for i in sorted(kept)]


def _draw_curve(ax: Axes, group: pd.DataFrame, colour: Any, label: str | None, is_detailed: bool) -> float:
    """Draw the curves of one hue; returns the highest smoothed value, NaN when there is none."""
    seeds = group.pivot(index="iteration", columns="training_id", values="value")
    if seeds.empty:
        return math.nan
    smooth = seeds.rolling(max(3, len(seeds) // 8), center=True, min_periods=1).mean()
    if is_detailed:
        ax.plot(seeds.index, seeds.to_numpy(), color=colour, alpha=0.3, linewidth=0.6)
        if seeds.shape[1] > 1:
            ax.fill_between(seeds.index, smooth.min(axis=1), smooth.max(axis=1), color=colour, alpha=0.15, linewidth=0)
    mean = smooth.mean(axis=1)
    marker = "o" if len(mean) == 1 else None  # a line of one point is invisible
    ax.plot(mean.index, mean, color=colour, linewidth=1.8 if is_detailed else 1.1, label=label, marker=marker)
    return float(mean.max())
