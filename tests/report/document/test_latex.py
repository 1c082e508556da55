"""LaTeX tables hold what the main table holds, with every character printed literally."""

import re

import pytest
from sweep_factory import make_sweep

from ablation.report.document.formatting import TextTable
from ablation.report.document.latex import render_latex
from ablation.report.document.tables import build_results_table
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.findings import Findings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mask_rcnn", r"mask\_rcnn"),
        ("50 %", r"50 \%"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a~b^c", r"a\textasciitilde{}b\^{}c"),
        ("<script>", r"\ensuremath{<}script\ensuremath{>}"),
        ("$x$ & #1", r"\$x\$ \& \#1"),
        ("two\n lines", "two lines"),
    ],
)
def test_signs_are_printed_literally(text, expected):
    text = render_latex({"t": TextTable([text], [[text]], 1)})
    assert re.findall(r"^ *(.*?) *\\\\$", text, re.MULTILINE) == [expected, expected]


def test_a_table_has_the_rows_of_the_main_table(tmp_path):
    folder = make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1]}).folder
    table = build_results_table(Findings.of(load_sweep(folder)))
    text = render_latex({"main table": table})
    rows = re.findall(r"^(.*) \\\\$", text, re.MULTILINE)
    assert len(rows) == 1 + len(table.rows)
    assert [cell.strip() for cell in rows[-1].split("&")] == table.rows[-1]
    assert text.startswith("% main table\n\\begin{tabular}")
    assert text.count("{") == text.count("}")


def test_an_interval_does_not_become_the_argument_of_the_command_before_it():
    text = render_latex({"t": TextTable(["[a]", "b"], [["[-1, 1]", "x"], ["[0, 1]", "[y]"]], 1)})
    assert not re.search(r"^\s*\[", text, re.MULTILINE)
    assert re.findall(r"^(.*?) *& *(.*?) \\\\$", text, re.MULTILINE) == [
        ("{}[a]", "b"),
        ("{}[-1, 1]", "x"),
        ("{}[0, 1]", "[y]"),
    ]


def test_a_table_without_rows_is_left_out():
    text = render_latex({"full": TextTable(["a"], [["1"]], 1), "empty": TextTable(["a", "b"], [], 1)})
    assert "% full" in text
    assert "empty" not in text
