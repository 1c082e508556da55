"""Tables as heat maps: a colour and a number in each place."""

from __future__ import annotations

import textwrap

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from seaborn.utils import relative_luminance

from ablation.report.figures.style import wrap_label
from ablation.report.loading.factors import format_value
from ablation.report.statistics import summaries
from ablation.report.statistics.findings import Findings

_MAX_CELLS = 24
_LABEL_WIDTH, _LABEL_LINES = 20, 4  # characters and lines of a column's label: as much as fits beside the next one


def differences_by_level(findings: Findings) -> Figure | None:
    """Draw the mean paired differences: levels in rows, the other settings in columns."""
    levels = summaries.by_level(findings)
    if levels is None:
        return None
    return draw_heat_map(levels, f"difference in {findings.sweep.primary_metric}", is_signed=True)


def train_by_test_matrix(findings: Findings) -> Figure | None:
    """Draw the score of each cell under each test noise."""
    matrix = summaries.train_by_test(findings.sweep)
    if matrix is None or matrix.shape[1] < 2 or len(matrix) > _MAX_CELLS:
        return None
    return draw_heat_map(matrix.rename_axis(columns="test noise, sigma"), f"{findings.sweep.primary_metric} [%]")


def differences_by_class(findings: Findings) -> Figure | None:
    """Draw the mean paired differences of each class's AP."""
    classes = summaries.class_differences(findings.sweep)
    if classes is None or len(classes) > _MAX_CELLS:
        return None
    return draw_heat_map(classes.rename_axis(columns="class"), "difference in AP", is_signed=True)


def draw_heat_map(table: pd.DataFrame, colour: str, is_signed: bool = False) -> Figure:
    """Draw a table; missing places stay empty.

    Args:
        table: numbers; the name of its columns is the label of the axis.
        colour: what the numbers are.
        is_signed: they are differences, coloured around 0.
    """
    names, labels = [wrap_label(name) for name in table.index], [_fold(format_value(name)) for name in table.columns]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    is_long = longest > 7
    lines = [line for name in names for line in name.split("\n")]
    rows, columns = table.shape
    width = max(6.4, 0.62 * columns + 0.075 * max(map(len, lines)) + 1.4)
    height = 0.24 * len(lines) + 0.05 * rows + 1.1 + (0.06 * longest if is_long else 0.0)
    figure = Figure(figsize=(width, height), layout="constrained")
    reach = table.abs().max(axis=None) or 1.0
    colours = {"cmap": "PuOr", "vmin": -reach, "vmax": reach} if is_signed else {"cmap": "viridis"}
    ax = sns.heatmap(
        table.set_axis(names).set_axis(labels, axis=1).rename_axis(columns=table.columns.name),
        annot=True,
        fmt="+.1f" if is_signed else ".1f",
        annot_kws={"size": 8},
        linewidths=1,
        cbar_kws={"label": colour, "aspect": max(8, 5 * rows)},
        ax=figure.subplots(),
        **colours,
    )
    faces = ax.collections[0].get_facecolor()[table.notna().to_numpy().ravel()]
    for text, face in zip(ax.texts, faces, strict=True):  # seaborn writes white on bright greens, too
        text.set_color("black" if relative_luminance(face) > 0.2 else "white")
    ax.tick_params(axis="x", rotation=35 if is_long else 0)
    for label in ax.get_xticklabels() if is_long else ():
        label.set(ha="right", rotation_mode="anchor")
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(length=0)
    ax.set_ylabel("")
    return figure


def _fold(label: str) -> str:
    return "\n".join(textwrap.wrap(label, _LABEL_WIDTH, max_lines=_LABEL_LINES, placeholder=" ...")) or label
