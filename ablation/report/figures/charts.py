"""Heat maps, intervals in rows, lines and dots of cells: frames in, a Figure out. No files, no statistics."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from ablation.report.figures.style import (
    BASELINE,
    KINDS,
    MANY,
    MARKERS,
    Layout,
    add_legend,
    colours,
    hue_values,
    select_rows,
    small_multiples,
    subsample_evenly,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

_MOST_LINES = 16  # cells in one panel; of more, as many at even distances
_NAME_WIDTH = 34  # characters of a cell's name before it is folded


@dataclass(frozen=True)
class Interval:
    """A row of a forest plot, in points. low, high: None where there is no interval; points: of each seed."""

    name: str
    value: float
    low: float | None
    high: float | None
    points: Sequence[float]
    is_claimed: bool


def heat_map(table: pd.DataFrame, across: str, colour: str, is_signed: bool = False) -> Figure:
    """A colour and a number for each place of a table; missing ones stay empty.

    across: what the columns are; colour: what the numbers are. is_signed: differences, coloured around 0.
    """
    values = table.to_numpy(dtype=float)
    rows, columns = values.shape
    names = [wrap_label(name) for name in table.index]
    lines = sum(name.count("\n") + 1 for name in names)
    wide = 0.075 * max(len(line) for name in names for line in name.split("\n"))
    figure = Figure(
        figsize=(max(6.4, 0.62 * columns + wide + 1.4), 0.24 * lines + 0.05 * rows + 1.1), layout="constrained"
    )
    ax = figure.subplots()
    finite = values[np.isfinite(values)]
    reach = float(np.abs(finite).max()) or 1.0 if len(finite) else 1.0
    limits: dict[str, Any] = {"vmin": -reach, "vmax": reach} if is_signed else {}
    image = ax.pcolormesh(values, cmap="PuOr" if is_signed else "viridis", edgecolors="white", linewidth=1, **limits)
    ax.set_xticks(np.arange(columns) + 0.5, [_label(name) for name in table.columns])
    if any(len(_label(name)) > 7 for name in table.columns):
        ax.tick_params(axis="x", rotation=35)
        for text in ax.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(rows) + 0.5, names)
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(across)
    _write_numbers(ax, image, values, is_signed)
    bar = figure.colorbar(image, ax=ax, label=colour, aspect=max(8, 5 * rows))
    bar.outline.set_visible(False)
    return figure


def forest(rows: Sequence[Interval], metric: str) -> Figure:
    """Differences to the baseline below one another, each with its interval, its seeds, and whether it is claimed."""
    names = [wrap_label(row.name) for row in rows]
    lines = sum(name.count("\n") + 1 for name in names)
    figure = Figure(figsize=(6.4, 0.16 * lines + 0.1 * len(rows) + 1.0), layout="constrained")
    ax = figure.subplots()
    ax.axvline(0, color=BASELINE, linewidth=1)
    for place, row in enumerate(rows):
        colour = KINDS[1] if row.is_claimed else KINDS[0]
        ax.plot(row.points, [place] * len(row.points), "|", color=colour, markersize=6, alpha=0.6)
        if row.low is not None and row.high is not None:
            ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.4)
        face = colour if row.is_claimed else "white"
        ax.plot(row.value, place, "o", color=colour, markersize=5, markerfacecolor=face)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"{metric}, seed-paired difference to the baseline [points]")
    _fit_to_intervals(ax, rows)
    return figure


def cell_lines(points: pd.DataFrame, panel: str, metric: str, x: str) -> Figure:
    """A line for each cell, a panel for each value of a column.

    points: columns cell, x, value (percent) and `panel`. x: what the axis shows.
    """
    cells = subsample_evenly(hue_values(points, "cell"), _MOST_LINES)
    looks = _looks(cells)
    named = set(subsample_evenly(cells))
    points = points[points["cell"].isin(cells)]

    def draw(part: pd.DataFrame, ax: Axes) -> None:
        for cell in hue_values(part, "cell"):
            line = select_rows(part, "cell", cell)
            ax.plot(
                line["x"],
                line["value"],
                linewidth=1.3,
                markersize=4,
                label=cell if cell in named else None,
                **looks[cell],
            )
        ax.set(xlabel=x, ylabel=f"{metric} [%]")

    across = panel if points[panel].nunique() > 1 else None
    return small_multiples(points, Layout(across=across), draw)


def kind_dots(table: pd.DataFrame, unit: str) -> Figure:
    """A place for each column and a mark for each cell: table as from views.error_kinds."""
    figure = Figure(figsize=(6.4, 3.0 + 0.15 * min(len(table), MANY)), layout="constrained")
    ax = figure.subplots()
    table = table.loc[subsample_evenly(list(table.index), _MOST_LINES)]
    looks, named = _looks(list(table.index)), set(subsample_evenly(list(table.index)))
    shifts = np.linspace(-0.3, 0.3, len(table)) if len(table) > 1 else [0.0]
    for cell, values, shift in zip(table.index.tolist(), table.to_numpy(dtype=float), shifts, strict=True):
        label = str(cell) if cell in named else None
        ax.plot(np.arange(len(values)) + shift, values, linestyle="none", markersize=5, label=label, **looks[cell])
    ax.set_xticks(range(len(table.columns)), [str(name) for name in table.columns])
    ax.set_ylim(bottom=0)
    ax.set_ylabel(unit)
    add_legend(figure, "")
    return figure


def ratio_dots(points: pd.DataFrame) -> Figure:
    """A row for each cell, a panel for each `what`, a mark for each training; 1 is the baselines' mean."""
    cells, panels = hue_values(points, "cell"), hue_values(points, "what")
    figure = Figure(figsize=(6.4, 0.26 * len(cells) + 1.0), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, what in zip(axes, panels, strict=True):
        ax.axvline(1, color=BASELINE, linewidth=1)
        part = select_rows(points, "what", what)
        for place, cell in enumerate(cells):
            values = select_rows(part, "cell", cell)["value"]
            ax.plot(values, [place] * len(values), "o", color=KINDS[0], markersize=4, markerfacecolor="none", alpha=0.7)
            if len(values):
                ax.plot(float(values.mean()), place, "|", color=KINDS[1], markersize=11, markeredgewidth=2)
        ax.set_xlabel(f"{what}, times the baseline", fontsize=8)
        ax.locator_params(axis="x", nbins=4)
    axes[0].set_yticks(range(len(cells)), [wrap_label(cell) for cell in cells])
    axes[0].set_ylim(len(cells) - 0.5, -0.5)
    return figure


def gallery(pictures: Sequence[tuple[str, Path]]) -> Figure:
    """Images of one size, two in a row, each under its name."""
    images = [(name, imread(path)) for name, path in pictures]
    columns = min(2, len(images))
    rows = math.ceil(len(images) / columns)
    height, width = images[0][1].shape[:2]
    figure = Figure(figsize=(7.2, rows * (7.2 / columns * height / width + 0.3)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, (name, image) in zip(axes, images, strict=False):
        ax.imshow(image)
        ax.set_title(name)
    return figure


def _looks(cells: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each cell; baselines are black."""
    noisy = [cell for cell in cells if not cell.startswith("baseline")]
    palette = dict(zip(noisy, colours(noisy, is_strength=False), strict=True))
    marks = dict(
        zip(noisy, (MARKERS[i % len(MARKERS)] if len(noisy) <= MANY else "." for i in range(len(noisy))), strict=True)
    )
    return {cell: {"color": palette.get(cell, BASELINE), "marker": marks.get(cell, "x")} for cell in cells}


def _write_numbers(ax: Axes, image: Any, values: Any, is_signed: bool) -> None:
    """Each number in black or white, whichever stands out on its colour."""
    faces = image.cmap(image.norm(values))
    for (row, column), value in np.ndenumerate(values):
        if math.isnan(value):
            continue
        light = float(faces[row, column, :3] @ (0.299, 0.587, 0.114))
        text = f"{value:+.1f}" if is_signed else f"{value:.1f}"
        colour = "black" if light > 0.5 else "white"
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=colour)


def _fit_to_intervals(ax: Axes, rows: Sequence[Interval]) -> None:
    """Limit x to seeds and values, and to intervals not much wider."""
    drawn = np.array([0.0, *(p for row in rows for p in (*row.points, row.value))])
    low, high = float(drawn.min()), float(drawn.max())
    room = max(high - low, 1.0)
    ends = np.array([end for row in rows for end in (row.low, row.high) if end is not None])
    if len(ends):
        low, high = max(min(low, ends.min()), low - room), min(max(high, ends.max()), high + room)
    ax.set_xlim(low - 0.05 * room, high + 0.05 * room)


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def wrap_label(name: Any) -> str:
    """A name on several lines, broken between its parts: "sigma" stays with its number."""
    parts = ", ".join(part.replace(" ", "\xa0") for part in str(name).split(", "))
    return "\n".join(textwrap.wrap(parts, _NAME_WIDTH)).replace("\xa0", " ") or str(name)
