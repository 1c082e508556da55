"""Figures from long-form tables: a frame goes in, Axes come out. No files, no statistics beyond smoothing a curve.

Colours are those of Okabe and Ito (told apart with any colour vision) for kinds and viridis for strengths; every
kind has its own marker too, so that a print in black and white can be read. pyplot is never imported: no state.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ablation.table import SIGMA

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

Draw = Callable[["pd.DataFrame", "Axes"], object]

_KINDS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C510A")
_MARKERS = "os^DvPX*"
_BASELINE = "#222222"
_MANY = 8  # more hues than this: no faint raw lines, no bands, every nth in the legend
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    # Ids in an SVG are random without a salt: the same input must give the same bytes.
    "svg.hashsalt": "ablation",
    "text.parse_math": False,  # a user's $name$ is no formula
}


@dataclass(frozen=True)
class Layout:
    """Which factor is told by colour, which by columns and which by rows of panels; None: not needed."""

    hue: str | None = None
    across: str | None = None
    down: tuple[str, ...] = ()

    @classmethod
    def of(cls, factors: Sequence[str]) -> Layout:
        """The factors in order: the first is the hue, the second goes across, all others down."""
        return cls(factors[0] if factors else None, factors[1] if len(factors) > 1 else None, tuple(factors[2:]))


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of every figure; drawing and saving both happen inside."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


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
    ax = ax or _single()
    runs, means = runs[runs[metric].notna() & runs[SIGMA].notna()], means[means["value"].notna() & means[SIGMA].notna()]
    bands, sigmas = bands or {}, sorted(set(runs[SIGMA])) if sigmas is None else sigmas
    if None in bands:
        _draw_band(ax, bands[None], _BASELINE)
    values = _hue_values(means, hue)
    for index, value in enumerate(values):
        look = {"color": _KINDS[index % len(_KINDS)], "marker": _MARKERS[index % len(_MARKERS)]}
        shift = _dodge(ax, index, len(values), len(sigmas))
        if value in bands and value is not None:
            _draw_band(ax, bands[value], look["color"])
        _draw_means(ax, _where(means, hue, value), _label(value), look, shift)
        _draw_points(ax, _where(runs, hue, value), metric, look, shift)
    _fit_to_points(ax, runs[metric].to_numpy(dtype=float), means, list(bands.values()))
    _scale_sigma(ax, sigmas)
    ax.set(xlabel=f"{SIGMA} (noise-to-signal ratio)", ylabel=f"{metric} [%]")
    return ax


def loss_overlay(curves: pd.DataFrame, name: str, hue: str | None = None, ax: Axes | None = None) -> Axes:
    """Training curves laid over one another: thin as logged, thick smoothed, a band over seeds where there are some.

    curves: columns training_id, iteration, value and hue; one row per logged point. name: of the metric.
    """
    ax = ax or _single()
    values = _hue_values(curves, hue)
    colours = _colours(values, is_strength=hue == SIGMA)
    shown = set(_thinned(values))
    tops = []
    for value, colour in zip(values, colours, strict=True):
        label = _label(value, "baseline, 0" if hue == SIGMA and value == 0 else None)
        group = _where(curves, hue, value)
        tops.append(_draw_curve(ax, group, colour, label if value in shown else None, len(values) <= _MANY))
    finite = [t for t in tops if math.isfinite(t)]
    if finite and max(finite) > 20 * float(np.median(finite)):  # a diverged run would flatten all others
        ax.set_yscale("log")
    ax.set(xlabel="iteration", ylabel=name)
    ax.margins(x=0.01)
    return ax


def small_multiples(frame: pd.DataFrame, layout: Layout, draw: Draw, legend: str = "") -> Figure:
    """A figure with one panel per value of the layout's columns and rows, axes shared, one legend for all.

    draw: called with the rows of a panel and its Axes. legend: the title of the legend.
    """
    cells = _panels(frame, layout)
    rows, columns = len(cells), max(len(row) for row in cells)
    size = (6.4, 4.4) if rows == columns == 1 else (max(6.4, 2.9 * columns + 0.6), 2.5 * rows + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for (r, c), ax in np.ndenumerate(axes):
        if c >= len(cells[r]):
            ax.set_visible(False)
            continue
        title, part = cells[r][c]
        if part.empty:
            ax.text(0.5, 0.5, "no such cell", transform=ax.transAxes, ha="center", color="#777777")
        else:
            draw(part, ax)
        ax.set_title(title)
        _label_outside(ax, is_left=c == 0, is_bottom=r + 1 == rows or c >= len(cells[r + 1]))
    _add_legend(figure, legend)
    return figure


def _label_outside(ax: Axes, is_left: bool, is_bottom: bool) -> None:
    # Not label_outer: it takes the labels from a panel above an empty place of the grid.
    ax.tick_params(labelleft=is_left, labelbottom=is_bottom)
    if not is_left:
        ax.set_ylabel("")
    if not is_bottom:
        ax.set_xlabel("")


def _single() -> Axes:
    return Figure(figsize=(6.4, 4.4), layout="constrained").subplots()


def _panels(frame: pd.DataFrame, layout: Layout) -> list[list[tuple[str, pd.DataFrame]]]:
    across = _hue_values(frame, layout.across)
    parts = [(_title(layout.across, value), _where(frame, layout.across, value)) for value in across]
    if not layout.down:
        wide = 4 if len(parts) > 5 else len(parts)
        return [parts[i : i + wide] for i in range(0, len(parts), wide)]
    down = list(frame[list(layout.down)].drop_duplicates().itertuples(index=False, name=None))
    return [
        [(_joined(title, layout.down, row), _with(part, layout.down, row)) for title, part in parts] for row in down
    ]


def _joined(title: str, factors: Sequence[str], values: Sequence[Any]) -> str:
    own = [_title(factor, value) for factor, value in zip(factors, values, strict=True)]
    return "\n".join([title, ", ".join(own)] if title else own)


def _with(part: pd.DataFrame, factors: Sequence[str], values: Sequence[Any]) -> pd.DataFrame:
    for factor, value in zip(factors, values, strict=True):
        part = _where(part, factor, value)
    return part


def _title(factor: str | None, value: Any) -> str:
    return "" if factor is None else f"{factor}={_label(value)}"


def _hue_values(frame: pd.DataFrame, factor: str | None) -> list[Any]:
    return [None] if factor is None else frame[factor].dropna().unique().tolist()


def _where(frame: pd.DataFrame, factor: str | None, value: Any) -> pd.DataFrame:
    return frame if factor is None else frame[frame[factor] == value]


def _label(value: Any, instead: str | None = None) -> str:
    if instead is not None:
        return instead
    if value is None:
        return "mean over seeds"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _colours(values: Sequence[Any], is_strength: bool) -> list[Any]:
    """Black for sigma 0 and one colour per other value: distinct ones for a few, a ramp for many or for strengths."""
    rest = [v for v in values if not (is_strength and v == 0)]
    if len(rest) <= (3 if is_strength else len(_KINDS)):
        picks: list[Any] = list(_KINDS[: len(rest)])
    else:
        picks = [colormaps["viridis"](x) for x in np.linspace(0.2, 0.85, len(rest))]
    chosen = dict(zip(rest, picks, strict=True))
    return [chosen.get(v, _BASELINE) for v in values]


def _thinned(values: Sequence[Any]) -> list[Any]:
    if len(values) <= _MANY + 2:
        return list(values)
    picks = np.unique(np.linspace(0, len(values) - 1, _MANY).round().astype(int))
    return [values[i] for i in picks]


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


def _add_legend(figure: Figure, title: str) -> None:
    found: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) < 2:
        return
    columns = min(len(found), max(5, int(figure.get_figwidth() / 1.4)))
    figure.legend(
        list(found.values()),
        list(found),
        title=title or None,
        title_fontsize=8,
        loc="outside lower center",
        ncols=columns,
    )
