r"""Tables for a paper: tables.tex holds each as a tabular with the rules of booktabs, to be read by \input."""

from __future__ import annotations

from collections.abc import Sequence

from ablation.report.document.tables import Grid

_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
}


def latex(tables: Sequence[tuple[str, Grid]]) -> str:
    """All tables, each below a comment with its name."""
    return "\n".join(f"% {' '.join(name.split())}\n{_tabular(grid)}" for name, grid in tables)


def escaped(text: object) -> str:
    """Text as LaTeX prints it literally."""
    return "".join(_SIGNS.get(sign, sign) for sign in " ".join(str(text).split()))


def _tabular(grid: Grid) -> str:
    columns = "l" * grid.names + "r" * (len(grid.header) - grid.names)
    rows = [_row(row) for row in grid.rows]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(grid.header), r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def _row(cells: Sequence[str]) -> str:
    # A bracket at the start of a row, as of an interval, would be taken for the argument of the line break before it.
    return " & ".join(f"{{{text}}}" if (text := escaped(cell)).startswith("[") else text for cell in cells) + r" \\"
