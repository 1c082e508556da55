"""Lines and dots of the cells of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn.objects as so
from matplotlib.figure import Figure

from ablation.report.figures import style
from ablation.report.statistics import summaries
from ablation.report.statistics.findings import Findings

_MAX_LINES = 16  # cells in one panel; of more, as many at even distances


def robustness_to_noise(findings: Findings) -> Figure | None:
    """Draw the score against the sigma of the test noise."""
    matrix = summaries.train_by_test(findings.sweep)
    if matrix is None or matrix.shape[1] < 2:
        return None
    points = summaries.test_curves(findings.sweep).rename(columns={"test": "column"})
    return draw_lines(points, findings.sweep.primary_metric, "sigma of the test noise")


def robustness_to_corruptions(findings: Findings) -> Figure | None:
    """Draw the score against the severity of each corruption."""
    if findings.sweep.corruptions.empty:
        return None
    points = summaries.corruption_curves(findings.sweep).rename(columns={"corruption": "column"})
    return draw_lines(points, findings.sweep.primary_metric, "severity")


def error_kinds(findings: Findings) -> Figure | None:
    """Draw TIDE's kinds of error side by side, a mark for each cell."""
    if findings.sweep.error_shift.empty or (kinds := summaries.error_kinds(findings.sweep)).empty:
        return None
    cells = style.subsample_evenly(list(kinds.index), _MAX_LINES)
    points = kinds.loc[cells].rename_axis("cell").reset_index().melt("cell", var_name="kind")
    plot = (
        _plot_cells(points, "kind", cells)
        .add(so.Dot(pointsize=6), so.Dodge())
        .limit(y=(0, None))
        .label(x="", y="points of AP50")
    )
    figure = style.draw(plot, (6.4, 3.0 + 0.15 * min(len(cells), style.MANY)))
    style.place_legend(figure)
    return figure


def cost(findings: Findings) -> Figure | None:
    """Draw time and memory of each training as multiples of the baselines' mean."""
    points = summaries.costs(findings.sweep)
    cells = points["cell"].nunique()
    if not 1 < cells <= style.MAX_ROWS:
        return None
    plot = (
        so.Plot(points.assign(cell=points["cell"].map(style.wrap_label)), x="value", y="cell")
        .facet(col="what")
        .share(x=False)
        .add(so.Dot(color=style.KINDS[0], fill=False, pointsize=4, stroke=1, alpha=0.7))
        .add(so.Dash(color=style.KINDS[1], linewidth=2, width=0.5), so.Agg(), orient="y")
        .label(x="times the baseline", y="")
    )
    figure = style.draw(plot, (6.4, 0.26 * cells + 1.2))
    for ax in figure.axes:
        ax.axvline(1, color=style.BASELINE, linewidth=1, zorder=1)
        ax.locator_params(axis="x", nbins=4)
    return figure


def draw_lines(points: pd.DataFrame, metric: str, x: str) -> Figure:
    """Draw a line for each cell, in a panel for each value of a column.

    Args:
        points: columns cell, x, value (percent) and `column`, the panel.
        metric: what the values are.
        x: what x is.
    """
    cells = style.subsample_evenly(list(dict.fromkeys(points["cell"])), _MAX_LINES)
    points = points[points["cell"].isin(cells)].assign(row="")
    plot = _plot_cells(points, "x", cells).add(so.Line(linewidth=1.3, pointsize=4)).label(x=x, y=f"{metric} [%]")
    figure = style.small_multiples(plot, points)
    style.place_legend(figure)
    return figure


def _plot_cells(points: pd.DataFrame, x: str, cells: Sequence[str]) -> so.Plot:
    scales = style.kind_scales(cells, [cell for cell in cells if cell.startswith(summaries.BASELINE)])
    return so.Plot(points, x=x, y="value", color="cell", marker="cell").scale(**scales)
