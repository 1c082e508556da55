"""Reports give the same bytes for the same records, hold every cell, and claim only what can be claimed."""

import base64
import errno
import json
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from sweep_factory import make_sweep, read_cells

from ablation.records.schema import GridScore, RunRecord, Status
from ablation.records.storage import read_record, write_record
from ablation.report.__main__ import main
from ablation.report.build import build
from ablation.report.document.answer import compose_answer
from ablation.report.document.html import embed
from ablation.report.document.markdown import escape
from ablation.report.document.tables import build_results_table, build_summary
from ablation.report.figures import heatmaps, scores
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.findings import Findings

GRID = {"noise.sigma": [0, 0.05, 0.1], "seed": [0, 1]}


@pytest.fixture
def unpainted(monkeypatch):
    """Make figures without rendering them, for tests of words and numbers."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def report_text(folder):
    """Build the report and return it as Markdown, without the spaces that align the columns of tables."""
    return re.sub(" {2,}", " ", (build(folder)[1].parent / "report.md").read_text())


def answer_of(folder):
    return compose_answer(Findings.of(load_sweep(folder)))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_records_give_the_same_bytes(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    build(paths.folder)
    first = contents(paths.report)
    build(paths.folder)
    assert contents(paths.report) == first
    names = {str(name) for name in first}
    assert {"index.html", "report.md", "runs.csv", "curves.csv", "differences.csv"} <= names
    assert {f"figures/{n}.{e}" for n in ("metric_against_sigma", "losses") for e in ("png", "svg")} <= names


def test_a_sweep_that_was_moved_gives_the_same_bytes(tmp_path):
    states = {0: Status.COMPLETED, 0.05: Status.FAILED, 0.1: Status.RUNNING}
    paths = make_sweep(tmp_path / "a" / "s", GRID, status=lambda config: states[config["noise.sigma"]])
    build(paths.folder, tmp_path / "here")
    moved = shutil.copytree(paths.folder, tmp_path / "b" / "s")
    build(moved, tmp_path / "there")
    assert "](figures/losses.png)" in (tmp_path / "here" / "report.md").read_text()
    assert str(tmp_path) not in (tmp_path / "there" / "runs.csv").read_text()
    here, there = contents(tmp_path / "here"), contents(tmp_path / "there")
    assert {k: v for k, v in here.items() if k.suffix not in (".md", ".html")} == {
        k: v for k, v in there.items() if k.suffix not in (".md", ".html")
    }


@pytest.mark.usefixtures("unpainted")
def test_noise_without_a_set_sigma_is_compared_in_the_table_not_on_the_axis(tmp_path):
    off = {"noise.params.bits": None}
    make_sweep(
        tmp_path / "s", {"noise.type": ["quantization"], "noise.sigma": [None], "noise.params.bits": [2, 4]}, base=off
    )
    make_sweep(tmp_path / "s", {"noise.type": ["none"], "noise.sigma": [None]}, base=off)
    text = report_text(tmp_path / "s")
    assert "metric_against_sigma" not in text
    assert re.search(r"\| quantization \| 4 \| measured \| 1 \| [\d.]+ \| [\d.]+ \| [+-][\d.]+ \|", text)


@pytest.mark.usefixtures("unpainted")
def test_figures_of_an_earlier_state_do_not_stay(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    build(paths.folder)
    for record in [*paths.folder.glob("runs/*/record.json"), *paths.folder.glob("trainings/*/*.json*")]:
        record.unlink()
    assert "No answer yet" in report_text(paths.folder)
    assert list((paths.report / "figures").iterdir()) == []


def test_a_strength_given_by_the_types_own_parameter_is_one_line_over_sigma(tmp_path, monkeypatch):
    paths = make_sweep(
        tmp_path / "s",
        {"noise.params.p": [0, 0.1, 0.5]},
        base={"noise.type": "dropout", "noise.sigma": None},
        sigma={0: 0.0, 0.1: 1 / 3, 0.5: 1.0}.__getitem__,
    )
    drawn = []
    monkeypatch.setattr(scores, "draw_scores", lambda runs, means, *_: drawn.append(means))
    build(paths.folder)
    (means,) = drawn
    assert list(means["noise.sigma"]) == [0.0, 1 / 3, 1.0]
    assert "noise.params.p" not in means


@pytest.mark.usefixtures("unpainted")
def test_a_mean_over_more_seeds_than_its_difference_says_so(tmp_path):
    make_sweep(tmp_path / "s", {"noise.sigma": [0], "seed": [0, 1]})
    make_sweep(tmp_path / "s", {"noise.sigma": [0.1], "seed": range(6)})
    assert "| 6 (2 paired) |" in report_text(tmp_path / "s")


@pytest.mark.usefixtures("unpainted")
def test_cells_that_cannot_run_are_listed(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    refused = [{"factors": {"noise.levels": ["p9"]}, "reason": "no p9"}]
    paths.sweep.write_text(json.dumps([{"command": "x", "invalid": refused}]))
    text = report_text(paths.folder)
    assert "- noise.levels=p9: no p9" in text
    assert "every requested cell has a result" not in text


@pytest.mark.usefixtures("unpainted")
def test_runs_csv_has_every_cell_and_the_numbers_of_its_record(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, score=lambda c: 10 * c["seed"] + c["noise.sigma"])
    build(paths.folder)
    table = pd.read_csv(paths.report / "runs.csv")
    assert list(table["segm/AP"]) == [0, 10, 0.05, 10.05, 0.1, 10.1]
    assert list(table["status"]) == ["completed"] * 6


def test_one_seed_claims_nothing_and_says_why(tmp_path):
    text = answer_of(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}).folder)
    assert "Each comparison has only one seed" in text
    assert "no effect is claimed" in text
    assert "seed=range(6)" in text


def test_two_seeds_claim_nothing_and_say_how_many_would(tmp_path):
    text = answer_of(make_sweep(tmp_path / "s", GRID).folder)
    assert "n = 2" in text
    assert "With 2 seeds the smallest p of an exact sign-flip test is 0.5" in text
    assert "at least 6 seeds are needed" in text
    assert re.search(r"An effect of 1\.0 AP needs \d+ seeds, one of 0\.5 AP \d+\.", text)


def falling(config):
    """Return a score that falls by 4 points, a little differently for each seed; the level of a seed cancels."""
    return 40 + 5 * config["seed"] - config["noise.sigma"] * (4 + 0.1 * config["seed"])


def test_six_seeds_that_agree_are_claimed_by_the_joint_test(tmp_path):
    grid = {"noise.sigma": [0, 0.5, 1.0], "seed": range(6)}
    text = answer_of(make_sweep(tmp_path / "s", grid, score=falling).folder)
    assert text.startswith("Feature noise lowers segm/AP: an effect is claimed for 2 of 2 cells and 1 of 1 trend")
    assert "of all cells, is -4.2 points from sigma 0 to the highest sigma (n = 6, joint p = 0.031)" in text
    assert "-4.2 points of segm/AP, at noise.sigma=1 (n = 6;" in text
    assert "The choice of test images is not covered." in text


def test_six_seeds_that_disagree_say_what_could_have_been_found(tmp_path):
    def scattered(config):
        return 40 + (config["noise.sigma"] > 0) * (-1) ** config["seed"]

    grid = {"noise.sigma": [0, 1.0], "seed": range(6)}
    text = answer_of(make_sweep(tmp_path / "s", grid, score=scattered).folder)
    assert text.startswith("No effect on segm/AP is claimed: the smallest joint p of 1 cell is 1.")
    assert "has 80 % power to detect an effect of 2.0 AP" in text  # 1.79 of the sd, which is 1.095
    assert "An effect of 1.0 AP needs 12 seeds" in text


def test_cells_with_too_few_seeds_are_named_as_not_tested(tmp_path):
    make_sweep(tmp_path / "s", {"noise.sigma": [0, 1.0], "seed": range(6)}, score=falling)
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0.5], "seed": range(2)}, score=falling)
    assert "Not tested: 1 cell with fewer than 6 seeds." in answer_of(paths.folder)


@pytest.mark.usefixtures("unpainted")
def test_tests_stand_in_table_and_csv_for_the_primary_metric_alone(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.5, 1.0], "seed": range(6)}, score=falling)
    text = report_text(paths.folder)
    assert "| difference | 95 % interval | p | Holm p | joint p | detectable |" in text
    assert re.search(r"\| all cells \| 6 \| -4.25 \| -4.2 \| .*-4.*, -4.* \| 0.031 \| 0.094 \| 0.031 claimed \|", text)
    table = pd.read_csv(paths.report / "differences.csv").set_index(["metric", "noise.sigma"])
    row = table.loc[("segm/AP", 1.0)]
    assert (row["p"], row["p_adjusted"], row["p_holm"]) == (0.03125, 0.03125, 3 * 0.03125)
    assert row["covers"] == "seeds"
    other = table.loc[("bbox/AP", 1.0)]
    assert other["p"] == 0.03125
    assert pd.isna(other["p_adjusted"])


def test_without_a_baseline_the_answer_says_what_to_add(tmp_path):
    text = answer_of(make_sweep(tmp_path / "s", {"noise.sigma": [0.1, 0.5]}).folder)
    assert "no baseline" in text
    assert "noise.sigma=0" in text


def test_an_unfinished_sweep_calls_its_answer_preliminary(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, status=lambda c: Status.PLANNED if c["seed"] else Status.COMPLETED)
    assert answer_of(paths.folder).startswith("Preliminary (3 of 6 cells completed, 3 planned)")


@pytest.mark.usefixtures("unpainted")
def test_the_difference_and_its_interval_stand_in_table_and_csv(tmp_path):
    def score(config):
        return 40 - 2 * (config["noise.sigma"] > 0) - 0.5 * config["seed"] * (config["noise.sigma"] > 0)

    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1, 2]}, score=score)
    text = report_text(paths.folder)
    half = 4.302653 * 0.5 / 3**0.5  # Student's t with 2 degrees of freedom, differences -2, -2.5, -3
    assert f"| 0.1 | 3 | 41.5 | 37.5 | -2.5 | [{-2.5 - half:+.1f}, {-2.5 + half:+.1f}] |" in text.replace("\\", "")
    table = pd.read_csv(paths.report / "differences.csv")
    row = table[(table["noise.sigma"] == 0.1) & (table["metric"] == "segm/AP")].iloc[0]
    assert (row["n"], row["difference"]) == (3, pytest.approx(-2.5))
    assert row["ci_low"] == pytest.approx(-2.5 - half, abs=1e-5)


@pytest.mark.usefixtures("unpainted")
def test_a_model_without_masks_is_judged_by_its_boxes(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, metrics=("bbox/AP",))
    text = report_text(paths.folder)
    assert "No run measured the primary metric segm/AP; bbox/AP is used instead." in text


@pytest.mark.usefixtures("unpainted")
def test_a_shared_baseline_stands_once_in_the_table(tmp_path):
    grid = {"noise.type": ["gaussian", "uniform"], "noise.when": ["train", "always"], **GRID}
    text = report_text(make_sweep(tmp_path / "s", grid).folder)
    assert text.count("| baseline |") == 1
    assert "| any | any | 0 | 2 |" in text


@pytest.mark.usefixtures("unpainted")
def test_flags_of_a_record_become_remarks(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]})
    (record,) = paths.folder.glob("runs/*/record.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"flags": ["predicted nothing"]}))
    assert "predicted nothing" in report_text(paths.folder).split("## Remarks")[1]


@pytest.mark.usefixtures("unpainted")
def test_failed_and_missing_cells_are_listed_with_the_reason(tmp_path):
    states = {0: Status.COMPLETED, 0.05: Status.FAILED, 0.1: Status.PLANNED}
    paths = make_sweep(tmp_path / "s", GRID, status=lambda config: states[config["noise.sigma"]])
    text = report_text(paths.folder)
    assert "RuntimeError: it broke" in text
    assert "planned" in text


def breaking(*lost):
    """Let the training of these pairs of sigma and seed diverge."""
    return lambda c: Status.DIVERGED if (c["noise.sigma"], c["seed"]) in lost else Status.COMPLETED


EIGHT = {"noise.sigma": [0, 0.5, 2.0], "seed": range(8)}


@pytest.mark.usefixtures("unpainted")
def test_a_diverged_seed_is_named_wherever_the_difference_of_the_others_stands(tmp_path):
    status = breaking((2.0, 0), (2.0, 1), (2.0, 2))
    paths = make_sweep(tmp_path / "s", EIGHT, score=falling, status=status, is_full=True)
    text = report_text(paths.folder).replace("\\", "")
    answer = answer_of(paths.folder)
    assert answer.startswith("Feature noise lowers segm/AP: an effect is claimed for 1 of 1 cell (")
    assert "noise.sigma=2: diverged 3 of 8; the 5 others differ by -9.0 points, from which nothing" in answer
    assert "Preliminary" not in answer
    assert re.search(r"\| 2 \| 5 of 8 \| [\d.]+ \| [\d.]+ \| -9.0 \(diverged 3 of 8\) \| \[.*\] \| \| \| \| \|", text)
    assert "diverged: numbers are those of the other seeds, and nothing is claimed from them." in text
    assert "Cross at the lower edge: a seed whose training diverged" in text
    assert "| sigma 2, diverged 3 of 8 |" in text.split("## Robustness")[1]
    listed = text.split("## Diverged runs")[1].split("## Failed")[0]
    assert listed.count("| diverged | The training diverged at iteration 3 of 300: NaN | Lower it. |") == 3
    assert "None: every requested cell has a result." in text
    console = Console(width=80, record=True)
    console.print(build_summary(Findings.of(load_sweep(paths.folder))))
    shown = console.export_text()
    assert "21 of 24 cells completed, 3 diverged" in shown
    assert "(diverged 3 of 8)" in shown


def test_a_baseline_that_diverged_is_named_and_nothing_is_claimed(tmp_path):
    paths = make_sweep(tmp_path / "s", EIGHT, score=falling, status=breaking((0, 1)))
    answer = answer_of(paths.folder)
    assert answer.startswith("segm/AP: nothing is claimed, because in every cell with noise")
    assert "noise.sigma=0: diverged 1 of 8." in answer
    assert "noise.sigma=2: baseline diverged 1 of 8; the 7 others differ by" in answer
    rows = {row[0]: row for row in build_results_table(Findings.of(load_sweep(paths.folder))).rows}
    assert rows["0"][4] == "baseline (diverged 1 of 8)"
    assert rows["2"][4].endswith("(baseline diverged 1 of 8)")


def test_seeds_that_score_zero_are_tested_and_the_report_says_so(tmp_path):
    base = {"evaluation.diverged": "zero"}
    paths = make_sweep(tmp_path / "s", EIGHT, score=falling, status=breaking((2.0, 0)), base=base)
    answer = answer_of(paths.folder)
    assert "an effect is claimed for 2 of 2 cells and 1 of 1 trend" in answer
    assert answer.endswith("noise.sigma=2: diverged 1 of 8, scored 0.")
    text = report_text(paths.folder)
    assert "(diverged 1 of 8, scored 0)" in text
    assert "score 0 (evaluation.diverged=zero)" in text


def test_a_sweep_in_which_everything_diverged_has_no_answer_and_is_not_unfinished(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, status=lambda _: Status.DIVERGED)
    assert answer_of(paths.folder) == "No answer: no cell has a result (0 of 6 cells completed, 6 diverged)."
    assert "Diverged runs" in report_text(paths.folder)


@pytest.mark.parametrize(
    "grid",
    [
        {"noise.sigma": [0.1]},
        {"noise.sigma": [0]},
        {"noise.sigma": [round(0.025 * i, 3) for i in range(40)]},
        {"noise.type": ["gaussian", "uniform"], "noise.levels": ["all", ["p2"]], "noise.when": ["train", "always"],
         "noise.sigma": [0, 0.5], "seed": [0, 1]},
    ],
)  # fmt: skip
def test_odd_sweeps_give_a_report(tmp_path, grid):
    _, page = build(make_sweep(tmp_path / "s", grid).folder)
    assert page.exists()


@pytest.mark.usefixtures("unpainted")
def test_a_sweep_of_failures_gives_a_report(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, status=lambda _: Status.FAILED)
    assert "6" in report_text(paths.folder)


@pytest.mark.usefixtures("unpainted")
def test_names_are_escaped(tmp_path):
    base = {"model.name": "<script>*m*|x"}
    paths = make_sweep(tmp_path / "s", {"model.name": ["<script>*m*|x", "b"], "noise.sigma": [0, 0.1]}, base=base)
    text = report_text(paths.folder)
    assert "<script>" not in re.sub("```.*?```", "", text, flags=re.DOTALL)
    rows = [line for line in text.splitlines() if line.startswith("| &lt;script&gt;")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 8 for row in rows[:2])


class Page(HTMLParser):
    """Parses a page into its text, the rows of each table, addresses and the tags that are open."""

    EMPTY = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.tables, self.addresses, self.open, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("href", "src")]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data


def test_the_page_holds_what_the_markdown_holds(tmp_path):
    findings, path = build(make_sweep(tmp_path / "s", GRID | {"noise.type": ["gaussian", "uniform"]}).folder)
    page = Page(path.read_text())
    text = (path.parent / "report.md").read_text()
    assert page.open == []
    assert compose_answer(findings) in page.text
    grid = build_results_table(findings)
    assert page.tables[0] == [grid.header, *grid.rows]
    assert sum(map(len, page.tables)) == len(re.findall(r"^\|(?!:-)", text, re.MULTILINE))
    assert [t for t in page.text if f"## {t}" in text.splitlines()] == re.findall("^## (.*)", text, re.MULTILINE)


def test_the_page_opens_with_the_answer_then_the_figure_then_the_table(tmp_path):
    text = build(make_sweep(tmp_path / "s", GRID).folder)[1].read_text()
    places = [text.index(sign) for sign in ('<p class="answer">', "<figure>", "<table>", "Losses</h2>")]
    assert places == sorted(places)


def test_the_page_needs_no_other_address(tmp_path):
    path = build(make_sweep(tmp_path / "s", GRID).folder)[1]
    text = path.read_text()
    assert "http:" not in text and "https:" not in text
    beside = {"runs.csv", "curves.csv", "differences.csv", "commands.csv", "tables.tex"}
    assert all(a in beside or a.startswith("data:") for a in Page(text).addresses)
    assert all((path.parent / name).is_file() for name in beside)


@pytest.mark.usefixtures("unpainted")
def test_names_are_escaped_in_the_page(tmp_path):
    bad = """<script>alert("1")</script>&'{{ title }}"""
    grid = {"model.name": [bad, "b"], "noise.sigma": [0, 0.1]}
    folder = make_sweep(tmp_path / "<b>s", grid, base={"model.name": bad}).folder
    text = build(folder)[1].read_text()
    page = Page(text)
    assert bad in [row[0] for row in page.tables[0]]
    assert text.count("<script>") == 1
    assert "<b>" not in text


@pytest.mark.usefixtures("unpainted")
def test_a_large_vector_figure_is_embedded_as_pixels(tmp_path):
    (tmp_path / "losses.svg").write_bytes(b"s" * 1_000_000)
    (tmp_path / "losses.png").write_bytes(b"p")
    assert embed(tmp_path, "losses") == "data:image/png;base64,cA=="


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("mask_rcnn", "mask_rcnn"),
        ("_x_", r"\_x\_"),
        ("two\nlines", "two lines"),
        (r"$x$ \textbf", r"\$x\$ \\textbf"),
    ],
)
def test_escaped_text_is_shown_literally(text, expected):
    assert escape(text) == expected


def test_the_summary_fits_eighty_columns(tmp_path, capsys):
    grid = {"noise.type": ["gaussian", "saliency_dropout"], "noise.when": ["train", "always"], **GRID}
    findings = Findings.of(load_sweep(make_sweep(tmp_path / "s", grid).folder))
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(build_summary(findings))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "baseline" in captured.get()
    assert re.search(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", captured.get())


@pytest.mark.usefixtures("unpainted")
def test_the_command_compares_folders_and_refuses_what_is_no_sweep(tmp_path, capsys):
    folders = [str(make_sweep(tmp_path / name, GRID).folder) for name in ("one", "two")]
    assert main(folders) == 0
    assert "versus-two" in capsys.readouterr().out.replace("\n", "")
    assert main([str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert "does not exist" in error
    assert "Sweeps beside it: one, two" in error
    assert "Traceback" not in error


def test_the_report_loads_neither_torch_nor_detectron2(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    code = (
        f"import sys; from ablation.report.build import build; build({str(paths.folder)!r}); "
        "print(sorted(m for m in ('torch', 'detectron2', 'hydra', 'omegaconf') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_pandas():
    code = (
        "import sys; from ablation.report.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted(m for m in ('pandas', 'matplotlib', 'scipy', 'rich') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_train_by_test_matrix_is_the_mean_over_seeds_and_draws(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1]})
    for cell in read_cells(paths.cells):
        record = read_record(paths.run(cell.run_id).record, RunRecord)
        tests = [(0.0, 0, 40.0), (0.5, 0, 30.0 + cell.config["seed"]), (0.5, 1, 20.0)]
        grid = [
            GridScore("gaussian", s, "all", draw, {"segm/AP": v + 10 * cell.sigma, "bbox/AP": 1.0})
            for s, draw, v in tests
        ]
        write_record(paths.run(cell.run_id).record, replace(record, grid=grid))
    text = report_text(paths.folder)
    assert "| trained with | test 0 | test 0.5 |" in text
    assert "| baseline | 40.0 | 25.2 |" in text
    assert "| sigma 0.1 | 41.0 | 26.2 |" in text
    assert len((paths.report / "grid.csv").read_text().splitlines()) == 1 + 4 * 3 * 2
    assert "test 0.5" in (paths.report / "index.html").read_text()


def test_every_number_of_the_table_can_be_followed_to_its_records(tmp_path):
    paths = make_sweep(
        tmp_path / "s", {"noise.sigma": [0, 0.5, 1.0], "noise.when": ["train", "always"], "seed": range(3)}
    )
    page = Page(build(paths.folder)[1].read_text())
    (header, *rows), followed = page.tables[0], 0
    runs = pd.read_csv(paths.report / "runs.csv")
    cells = {(cell.run_id, cell.config["noise.when"]): cell for cell in read_cells(paths.cells)}
    for row in rows:
        shown = dict(zip(header, row, strict=True))
        own = runs[runs["noise.sigma"] == float(shown["noise.sigma"])]
        own = own[own["noise.when"] == shown["noise.when"]] if shown["noise.when"] != "any" else own
        own = own.drop_duplicates("run_id")
        records = {run_id: read_record(paths.run(run_id).record, RunRecord) for run_id in own["run_id"]}
        for metric in ("bbox/AP", "segm/AP"):
            measured = [record.metrics[metric] for record in records.values()]
            assert shown[metric] == f"{sum(measured) / len(measured):.1f}"
            followed += 1
        for run_id, when, seed in zip(own["run_id"], own["noise.when"], own["seed"], strict=True):
            config = cells[run_id, when].config
            assert (config["noise.sigma"], config["seed"]) == (float(shown["noise.sigma"]), seed)
            assert records[run_id].environment["code"] in " ".join(page.text)
    assert followed == 10


def test_a_figure_of_deleted_pictures_stays_in_the_report(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    figure = paths.report / "figures" / "detections.png"
    figure.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), (10, 20, 30)).save(figure)
    before = figure.read_bytes()
    build(paths.folder)
    assert figure.read_bytes() == before
    assert "figures/detections.png" in (paths.report / "report.md").read_text()
    assert base64.b64encode(before).decode() in (paths.report / "index.html").read_text()


def test_a_primary_metric_that_no_test_object_counts_for_is_told_as_that(tmp_path, unpainted):
    paths = make_sweep(tmp_path / "s", GRID, base={"evaluation.primary_metric": "segm/APl"})
    text = report_text(paths.folder)
    assert (
        "segm/APl has no value in any completed run (6 of 6 cells completed): the test images hold no object that it "
        "counts. Repeat the command with another evaluation.primary_metric; completed runs are skipped."
    ) in text
    assert "difference: none, because segm/APl has no value in any run." in text


def test_one_test_image_has_no_interval_over_images(tmp_path, unpainted):
    paths = make_sweep(tmp_path / "s", GRID)
    for run in (path.name for path in paths.folder.glob("runs/*")):
        values = {"segm/AP": np.full(1000, 40.0)}
        np.savez(paths.run(run).resamples.with_suffix(".npz"), images=1, **values)
    findings = Findings.of(load_sweep(paths.folder))
    assert {e.difference_interval.covers for e in findings.outcome.compared} == {"seeds"}
    assert "With one test image, no interval covers the choice of test images; two are needed." in report_text(
        paths.folder
    )


def test_many_classes_of_long_names_are_drawn_and_listed_without_a_warning(tmp_path, unpainted):
    paths = make_sweep(tmp_path / "s", GRID)
    for path in paths.folder.glob("runs/*/record.json"):
        run = read_record(path, RunRecord)
        scores_of_classes = {f"segm/AP-class {i:03} of a name of 37 letters long": 40.0 + i for i in range(120)}
        write_record(path, replace(run, metrics={**run.metrics, **scores_of_classes}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "The copy keyword is deprecated")  # of pandas, about seaborn
        build(paths.folder)


def test_a_label_of_a_column_is_folded():
    table = pd.DataFrame([[1.0, 2.0]], columns=["short", "a_class_name_of_37_characters_in_a_row"])
    figure = heatmaps.draw_heat_map(table, "AP")
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["short", "a_class_name_of_37_c\nharacters_in_a_row"]


@pytest.mark.usefixtures("unpainted")
def test_a_finished_run_without_the_primary_metric_is_finished(tmp_path):
    boxes = make_sweep(tmp_path / "boxes", GRID, metrics=("bbox/AP",))
    masks = make_sweep(tmp_path / "masks", GRID)
    findings, page = build([boxes.folder, masks.folder])
    rows = [row for row in build_results_table(findings).rows if row[0] == "boxes"]
    assert [row[2] for row in rows] == ["2"] * 3
    assert {row[5] for row in rows} == {"no segm/AP"}
    assert "no result" not in page.read_text()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "Permission denied")]
)
def test_a_report_that_cannot_be_written_says_where_and_what_to_do(tmp_path, in_process, monkeypatch, error):
    def fail(*_):
        raise error

    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]})
    monkeypatch.setattr("ablation.records.atomic.tempfile.mkstemp", lambda **_: fail())
    result = in_process(main, str(paths.folder))
    assert result.status == 1
    assert f"{error.strerror} ({paths.report}" in result.err
    assert "--out" in result.err
    assert "Traceback" not in result.err


def test_an_interrupt_is_quiet(tmp_path, in_process, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ablation.report.__main__.build", interrupted)
    result = in_process(main, str(tmp_path))
    assert (result.status, result.out, result.err) == (130, "", "")


@pytest.mark.usefixtures("unpainted")
def test_every_name_is_escaped_wherever_it_stands(tmp_path):
    bad = "<i>x</i>"
    paths = make_sweep(tmp_path / "s", GRID, metrics=(f"bbox/AP-{bad}", "segm/AP", f"segm/AP-{bad}", f"segm/{bad}"))
    paths.sweep.write_text(
        json.dumps([{"command": bad, "data": {bad: [bad]}, "invalid": [{"factors": {bad: bad}, "reason": bad}]}])
    )
    base = {"evaluation.primary_metric": f"segm/{bad}", "noise.sigma": 0}
    make_sweep(paths.folder, {bad: [bad, "y"]}, base=base, metrics=(f"segm/{bad}",), status=lambda _: Status.FAILED)
    page = build(paths.folder)[1]
    assert "<i>" not in page.read_text()
    assert "<i>" not in re.sub("```.*?```", "", (page.parent / "report.md").read_text(), flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shapes", "levels", "nuclei"])
def test_a_report_of_an_example_removes_and_changes_nothing_that_it_cannot_make_again(tmp_path, name):
    folder = shutil.copytree(ROOT / "sweeps" / f"example-{name}", tmp_path / f"example-{name}")
    before = contents(folder)
    build(folder)
    first = contents(folder)
    # The committed figures were stored with fewer colours; the page and the text name the place of the sweep.
    changed = {path for path in before if first.get(path) != before[path] and path.parent.name != "figures"}
    assert {path.name for path in changed} <= {"index.html", "report.md"}
    assert {path for path in before if path.name == "detections.png"} <= first.keys() & before.keys()
    build(folder)
    assert contents(folder) == first
