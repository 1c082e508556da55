"""Tables and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from ablation.report.statistics.paired import MeanInterval


@dataclass(frozen=True)
class TextTable:
    """A table of formatted text.

    Attributes:
        header: Column titles.
        rows: Cells, one sequence per row.
        name_columns: Number of columns from the left that hold names and are aligned left. The others hold numbers.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    name_columns: int

    def format(self, tablefmt: str, escape: Callable[[str], str]) -> str:
        """Return the table in one of tabulate's formats, after `escape` was applied to every cell."""
        header, *rows = [[escape(cell) for cell in row] for row in (self.header, *self.rows)]
        alignment = ["left" if i < self.name_columns else "right" for i in range(len(header))]
        return tabulate(rows, header, tablefmt, disable_numparse=True, colalign=alignment)


def format_interval(interval: MeanInterval | None) -> str:
    """Return both ends of an interval with one decimal, or nothing for None."""
    return f"[{interval.low:+.1f}, {interval.high:+.1f}]" if interval else ""


def format_p(p: float) -> str:
    """Return a p value with two significant digits, or nothing for NaN."""
    return "" if math.isnan(p) else f"{p:.2g}"


def format_score(value: float | None) -> str:
    """Return a score with one decimal, or a dash where it is missing."""
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"
