"""Appearance of all figures: style, colours, labels, panels and the legend.

Kinds have the colours of Okabe and Ito, which are distinct for any colour vision, and strengths those of viridis.
Every kind has a marker of its own, too, for prints in black and white. Figures are plain Matplotlib objects; nothing
is registered with pyplot.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
import seaborn.objects as so
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from ablation.report.loading.factors import format_value

KINDS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C510A")
MARKERS = "os^DvPX*"
BASELINE = "#222222"
MANY = 8  # more hues than this: no faint raw lines, no bands, every nth in the legend
MAX_ROWS = 60  # cells in one figure; more would be a poster, and the tables hold them all
_NAME_WIDTH = 34  # characters of a cell's name before it is wrapped
_STYLE: dict[str, Any] = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same figure on every machine
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.dpi": 160,
    "svg.hashsalt": "ablation",  # ids in an SVG are random without a salt
    "text.parse_math": False,  # a user's $name$ is no formula
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the style of the figures; both drawing and saving happen inside."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def draw(plot: so.Plot, size: tuple[float, float] = (6.4, 4.4)) -> Figure:
    """Draw a plot on a figure of its own, without a legend. size: width and height in inches."""
    figure = Figure(figsize=size, layout="constrained")
    plot.on(figure).theme(_STYLE).plot()
    for ax in figure.axes:
        ax.grid(visible=True)  # seaborn leaves it out between names, where it guides the eye from a name to its marks
    return figure


def assign_panels(frame: pd.DataFrame, hue: str | None, factors: Sequence[str]) -> pd.DataFrame:
    """Add the columns `hue`, `column` and `row`: labels of the colour and the panel of each row.

    Args:
        frame: holds all factors as columns.
        hue: the factor that colours show, if any.
        factors: the first one goes across the columns of panels, all others together down the rows.
    """

    def titles(names: Sequence[str]) -> list[str]:
        rows = frame[list(names)].to_dict("records")
        return [", ".join(f"{name}={format_value(value)}" for name, value in row.items()) for row in rows]

    hues = frame[hue].map(format_value) if hue else "mean over seeds"
    return frame.assign(hue=hues, column=titles(factors[:1]), row=titles(factors[1:]))


def small_multiples(plot: so.Plot, frame: pd.DataFrame) -> Figure:
    """Draw a plot in one panel for each `column` and `row` of a frame, as `assign_panels` adds them."""
    columns, rows = frame["column"].nunique(), frame["row"].nunique()
    wrap = 4 if columns > 5 and rows == 1 else None
    plot = plot.facet(col="column" if columns > 1 else None, row="row" if rows > 1 else None, wrap=wrap)
    if wrap:
        columns, rows = wrap, math.ceil(columns / wrap)
    is_single = columns == rows == 1
    figure = draw(plot, (6.4, 4.4) if is_single else (max(6.4, 2.9 * columns + 0.6), 2.5 * rows + 1.2))
    for ax in figure.axes:
        ax.set_title(ax.get_title().replace(" | ", "\n"))
        if not ax.has_data():
            ax.text(0.5, 0.5, "no such cell", transform=ax.transAxes, ha="center", color="#777777")
    return figure


def place_legend(figure: Figure, title: str = "", extra: Mapping[str, Artist] | None = None) -> None:
    """Replace seaborn's legend by one below all panels, with no more entries than there is room for.

    A single entry is no legend.

    Args:
        figure: drawn by `small_multiples` or `draw`.
        title: of the legend.
        extra: further entries by label.
    """
    entries: list[tuple[str, Any]] = []
    for legend in figure.legends:
        labels = [text.get_text() for text in legend.get_texts()]
        entries = subsample_evenly(list(zip(labels, legend.legend_handles, strict=True)))
    figure.legends.clear()
    entries += (extra or {}).items()
    if len(entries) < 2:
        return
    width = 0.6 + 0.075 * max(len(label) for label, _ in entries)  # inches of an entry
    figure.legend(
        [handle for _, handle in entries],
        [label for label, _ in entries],
        title=title,
        loc="outside lower center",
        ncols=max(1, min(len(entries), int(figure.get_figwidth() / width))),
    )


def colours(values: Sequence[Any], baselines: Sequence[Any] = (), is_strength: bool = False) -> dict[Any, Any]:
    """Choose a colour for each value: black for baselines, distinct ones for a few others, a ramp for many.

    is_strength: the values are ordered, so that already four of them are a ramp.
    """
    others = [value for value in values if value not in baselines]
    if len(others) <= (3 if is_strength else len(KINDS)):
        picks: list[Any] = list(KINDS[: len(others)])
    else:
        picks = [mpl.colormaps["viridis"](x) for x in np.linspace(0.2, 0.85, len(others))]
    return dict.fromkeys(baselines, BASELINE) | dict(zip(others, picks, strict=True))


def kind_scales(values: Sequence[str], baselines: Sequence[str] = ()) -> dict[str, so.Nominal]:
    """Make the scales of colour and marker for kinds; baselines are black crosses, many kinds are points."""
    others = [value for value in values if value not in baselines]
    markers = dict(zip(others, itertools.cycle(MARKERS if len(others) <= MANY else "."), strict=False))
    return {
        "color": so.Nominal(colours(values, baselines), order=list(values)),
        "marker": so.Nominal(dict.fromkeys(baselines, "x") | markers, order=list(values)),
    }


def subsample_evenly(values: Sequence[Any], most: int = MANY) -> list[Any]:
    """Return all of a few values, and of many about `most` at even distances, both ends among them."""
    if len(values) <= most + 2:
        return list(values)
    picks = np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
    return [values[i] for i in picks]


def wrap_label(name: Any) -> str:
    """Break a name into lines between its parts: "sigma" stays with its number."""
    parts = ", ".join(part.replace(" ", "\xa0") for part in str(name).split(", "))
    return "\n".join(textwrap.wrap(parts, _NAME_WIDTH)).replace("\xa0", " ") or str(name)
