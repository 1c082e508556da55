"""LaTeX tables hold what the main table holds, with every sign printed as it is."""

import re

import pytest
from sweep_factory import make_sweep

from ablation.report.document.latex import escaped, latex
from ablation.report.document.tables import Grid, results
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.findings import Findings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mask_rcnn", r"mask\_rcnn"),
        ("50 %", r"50 \%"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a~b^c", r"a\textasciitilde{}b\textasciicircum{}c"),
        ("<script>", r"\textless{}script\textgreater{}"),
        ("$x$ & #1", r"\$x\$ \& \#1"),
    ],
)
def test_signs_are_printed_literally(given, expected):
    assert escaped(given) == expected


def test_a_table_has_the_rows_of_the_main_table(tmp_path):
    grid = results(
        Findings.of(load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1]}).folder))
    )
    text = latex([("main\ntable", grid)])
    rows = re.findall(r"^(.*) \\\\$", text, re.MULTILINE)
    assert len(rows) == 1 + len(grid.rows)
    assert [cell.strip("{}") for cell in rows[-1].split(" & ")] == grid.rows[-1]
    assert text.startswith("% main table\n\\begin{tabular}")
    assert text.count("{") == text.count("}")


def test_an_interval_does_not_become_the_argument_of_a_line_break():
    assert r"{[-1, 1]} & x \\" in latex([("t", Grid(["a", "b"], [["[-1, 1]", "x"]], 1))])
