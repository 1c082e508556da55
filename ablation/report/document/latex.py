r"""Tables for a paper: tables.tex holds one booktabs tabular per table, to be loaded with \input."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ablation.report.document.formatting import TextTable


def render_latex(tables: Mapping[str, TextTable]) -> str:
    """Return all tables that have rows, each below a comment with its name."""
    return "\n".join(f"% {name}\n{_tabular(table)}\n" for name, table in tables.items() if table.rows)


def _tabular(table: TextTable) -> str:
    text = table.format("latex_booktabs", lambda cell: " ".join(cell.split()))
    # tabulate escapes all special characters but this: a bracket at the start of a row, as of an interval, would be
    # read as the argument of the `\\` or `\midrule` before it.
    return re.sub(r"^ *\[", "{}[", text, flags=re.MULTILINE)
