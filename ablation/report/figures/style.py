"""How all figures look: style, colours, and which factor is told by colour, by columns or by rows of panels.

Colours are those of Okabe and Ito (told apart with any colour vision) for kinds and viridis for strengths; every
kind has its own marker too, so that a print in black and white can be read. pyplot is never imported: no state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Draw = Callable[["pd.DataFrame", "Axes"], object]

KINDS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C510A")
MARKERS = "os^DvPX*"
BASELINE = "#222222"
MANY = 8  # more hues than this: no faint raw lines, no bands, every nth in the legend
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
    add_legend(figure, legend)
    return figure


def _label_outside(ax: Axes, is_left: bool, is_bottom: bool) -> None:
    # Not label_outer: it takes the labels from a panel above an empty place of the grid.
    ax.tick_params(labelleft=is_left, labelbottom=is_bottom)
    if not is_left:
        ax.set_ylabel("")
    if not is_bottom:
        ax.set_xlabel("")


def single() -> Axes:
    """Axes of a figure of their own."""
    return Figure(figsize=(6.4, 4.4), layout="constrained").subplots()


def _panels(frame: pd.DataFrame, layout: Layout) -> list[list[tuple[str, pd.DataFrame]]]:
    across = hue_values(frame, layout.across)
    parts = [(_title(layout.across, value), select_rows(frame, layout.across, value)) for value in across]
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
        part = select_rows(part, factor, value)
    return part


def _title(factor: str | None, value: Any) -> str:
    return "" if factor is None else f"{factor}={label(value)}"


def hue_values(frame: pd.DataFrame, factor: str | None) -> list[Any]:
    """The values of a factor in the order of the rows; one None where there is no factor."""
    return [None] if factor is None else frame[factor].dropna().unique().tolist()


def select_rows(frame: pd.DataFrame, factor: str | None, value: Any) -> pd.DataFrame:
    """The rows of a value; all where there is no factor."""
    return frame if factor is None else frame[frame[factor] == value]


def label(value: Any, instead: str | None = None) -> str:
    """A value as a legend or a title has it."""
    if instead is not None:
        return instead
    if value is None:
        return "mean over seeds"
    return f"{value:g}" if isinstance(value, float) else str(value)


def colours(values: Sequence[Any], is_strength: bool) -> list[Any]:
    """Black for sigma 0 and one colour per other value: distinct ones for a few, a ramp for many or for strengths."""
    rest = [v for v in values if not (is_strength and v == 0)]
    if len(rest) <= (3 if is_strength else len(KINDS)):
        picks: list[Any] = list(KINDS[: len(rest)])
    else:
        picks = [colormaps["viridis"](x) for x in np.linspace(0.2, 0.85, len(rest))]
    chosen = dict(zip(rest, picks, strict=True))
    return [chosen.get(v, BASELINE) for v in values]


def subsample_evenly(values: Sequence[Any], most: int = MANY) -> list[Any]:
    """All of a few values; of many, about `most`, by default what a legend has room for, both ends among them."""
    if len(values) <= most + 2:
        return list(values)
    picks = np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
    return [values[i] for i in picks]


def add_legend(figure: Figure, title: str) -> None:
    """One legend below all panels, of every label once; none where there is only one."""
    found: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) < 2:
        return
    wide = 0.6 + 0.07 * max(map(len, found))  # inches of an entry
    columns = max(1, min(len(found), int(figure.get_figwidth() / wide)))
    figure.legend(
        list(found.values()),
        list(found),
        title=title or None,
        title_fontsize=8,
        loc="outside lower center",
        ncols=columns,
    )
