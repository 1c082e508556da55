"""The report: the same bytes from the same records, every cell in it, nothing claimed that cannot be."""

import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from sweep_factory import make_sweep

from ablation import plots
from ablation.record import Status
from ablation.report import answer, build, escape, main, summary
from ablation.table import load_sweep

GRID = {"noise.sigma": [0, 0.05, 0.1], "seed": [0, 1]}


@pytest.fixture
def unpainted(monkeypatch):
    """Figures are made but not rendered: for tests of words and numbers."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_records_give_the_same_bytes(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    build(paths.folder)
    first = contents(paths.report)
    build(paths.folder)
    assert contents(paths.report) == first
    names = {str(name) for name in first}
    assert {"report.md", "runs.csv", "curves.csv", "differences.csv"} <= names
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
    assert {k: v for k, v in here.items() if k.suffix != ".md"} == {k: v for k, v in there.items() if k.suffix != ".md"}


@pytest.mark.usefixtures("unpainted")
def test_noise_without_a_set_sigma_is_compared_in_the_table_not_on_the_axis(tmp_path):
    off = {"noise.params.bits": None}
    make_sweep(
        tmp_path / "s", {"noise.type": ["quantization"], "noise.sigma": [None], "noise.params.bits": [2, 4]}, base=off
    )
    make_sweep(tmp_path / "s", {"noise.type": ["none"], "noise.sigma": [None]}, base=off)
    text = build(tmp_path / "s").read_text()
    assert "metric_against_sigma" not in text
    assert re.search(r"\| quantization \| 4 \| measured \| 1 \| [\d.]+ \| [\d.]+ \| [+-][\d.]+ \|", text)


@pytest.mark.usefixtures("unpainted")
def test_figures_of_an_earlier_state_do_not_stay(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    build(paths.folder)
    for record in [*paths.folder.glob("runs/*/record.json"), *paths.folder.glob("trainings/*/*.json*")]:
        record.unlink()
    assert "No answer yet" in build(paths.folder).read_text()
    assert list((paths.report / "figures").iterdir()) == []


def test_a_strength_given_by_the_types_own_parameter_is_one_line_over_sigma(tmp_path, monkeypatch):
    paths = make_sweep(
        tmp_path / "s",
        {"noise.params.p": [0, 0.1, 0.5]},
        base={"noise.type": "dropout", "noise.sigma": None},
        sigma={0: 0.0, 0.1: 1 / 3, 0.5: 1.0}.__getitem__,
    )
    drawn = []
    monkeypatch.setattr(plots, "metric_against_sigma", lambda runs, means, *_: drawn.append(means))
    build(paths.folder)
    (means,) = drawn
    assert list(means["noise.sigma"]) == [0.0, 1 / 3, 1.0]
    assert "noise.params.p" not in means


@pytest.mark.usefixtures("unpainted")
def test_a_mean_over_more_seeds_than_its_difference_says_so(tmp_path):
    make_sweep(tmp_path / "s", {"noise.sigma": [0], "seed": [0, 1]})
    make_sweep(tmp_path / "s", {"noise.sigma": [0.1], "seed": range(6)})
    assert "| 6 (2 paired) |" in build(tmp_path / "s").read_text()


@pytest.mark.usefixtures("unpainted")
def test_cells_that_cannot_run_are_listed(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    refused = [{"factors": {"noise.levels": ["p9"]}, "reason": "no p9"}]
    paths.sweep.write_text(json.dumps([{"command": "x", "invalid": refused}]))
    text = build(paths.folder).read_text()
    assert "- noise.levels=p9: no p9" in text
    assert "every cell that was asked for has a result" not in text


@pytest.mark.usefixtures("unpainted")
def test_runs_csv_has_every_cell_and_the_numbers_of_its_record(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, score=lambda c: 10 * c["seed"] + c["noise.sigma"])
    build(paths.folder)
    table = pd.read_csv(paths.report / "runs.csv")
    assert list(table["segm/AP"]) == [0, 10, 0.05, 10.05, 0.1, 10.1]
    assert list(table["status"]) == ["completed"] * 6


def test_one_seed_claims_nothing_and_says_why(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}).folder)
    assert "rests on one seed" in answer(sweep)
    assert "no difference is called an effect" in answer(sweep)


def test_two_seeds_are_not_called_significant(tmp_path):
    text = answer(load_sweep(make_sweep(tmp_path / "s", GRID).folder))
    assert "n = 2" in text
    assert "nothing is called significant" in text


def test_six_seeds_without_a_test_are_no_claim_either(tmp_path):
    text = answer(load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 1.0], "seed": range(6)}).folder))
    assert "no test was made: nothing is claimed" in text


def test_without_a_baseline_the_answer_says_what_to_add(tmp_path):
    text = answer(load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0.1, 0.5]}).folder))
    assert "no baseline" in text
    assert "noise.sigma=0" in text


def test_an_unfinished_sweep_calls_its_answer_preliminary(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, status=lambda c: Status.PLANNED if c["seed"] else Status.COMPLETED)
    assert answer(load_sweep(paths.folder)).startswith("Preliminary (3 of 6 cells completed, 3 planned)")


@pytest.mark.usefixtures("unpainted")
def test_the_difference_and_its_interval_stand_in_table_and_csv(tmp_path):
    def score(config):
        return 40 - 2 * (config["noise.sigma"] > 0) - 0.5 * config["seed"] * (config["noise.sigma"] > 0)

    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1], "seed": [0, 1, 2]}, score=score)
    text = build(paths.folder).read_text()
    half = 4.302653 * 0.5 / 3**0.5  # Student's t with 2 degrees of freedom, differences -2, -2.5, -3
    assert f"| 0.1 | 3 | 41.5 | 37.5 | -2.5 | [{-2.5 - half:+.1f}, {-2.5 + half:+.1f}] |" in text.replace("\\", "")
    table = pd.read_csv(paths.report / "differences.csv")
    row = table[(table["noise.sigma"] == 0.1) & (table["metric"] == "segm/AP")].iloc[0]
    assert (row["n"], row["difference"]) == (3, pytest.approx(-2.5))
    assert row["ci_low"] == pytest.approx(-2.5 - half, abs=1e-5)


@pytest.mark.usefixtures("unpainted")
def test_a_model_without_masks_is_judged_by_its_boxes(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, metrics=("bbox/AP",))
    text = build(paths.folder).read_text()
    assert "No run measured the primary metric segm/AP; bbox/AP stands in." in text


@pytest.mark.usefixtures("unpainted")
def test_a_shared_baseline_stands_once_in_the_table(tmp_path):
    grid = {"noise.type": ["gaussian", "uniform"], "noise.when": ["train", "always"], **GRID}
    text = build(make_sweep(tmp_path / "s", grid).folder).read_text()
    assert text.count("| baseline |") == 1
    assert "| any | any | 0 | 2 |" in text


@pytest.mark.usefixtures("unpainted")
def test_flags_of_a_record_become_remarks(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]})
    (record,) = paths.folder.glob("runs/*/record.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"flags": ["predicted nothing"]}))
    assert "predicted nothing" in build(paths.folder).read_text().split("## Remarks")[1]


@pytest.mark.usefixtures("unpainted")
def test_failed_and_missing_cells_are_listed_with_the_reason(tmp_path):
    states = {0: Status.COMPLETED, 0.05: Status.FAILED, 0.1: Status.PLANNED}
    paths = make_sweep(tmp_path / "s", GRID, status=lambda config: states[config["noise.sigma"]])
    text = build(paths.folder).read_text()
    assert "RuntimeError: it broke" in text
    assert "planned" in text


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
    assert build(make_sweep(tmp_path / "s", grid).folder).exists()


@pytest.mark.usefixtures("unpainted")
def test_a_sweep_of_failures_gives_a_report(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, status=lambda _: Status.FAILED)
    assert "6" in build(paths.folder).read_text()


@pytest.mark.usefixtures("unpainted")
def test_names_are_escaped(tmp_path):
    base = {"model.name": "<script>*m*|x"}
    paths = make_sweep(tmp_path / "s", {"model.name": ["<script>*m*|x", "b"], "noise.sigma": [0, 0.1]}, base=base)
    text = build(paths.folder).read_text()
    assert "<script>" not in re.sub("```.*?```", "", text, flags=re.DOTALL)
    rows = [line for line in text.splitlines() if line.startswith("| &lt;script&gt;")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 8 for row in rows[:2])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("mask_rcnn", "mask_rcnn"),
        ("_x_", r"\_x\_"),
        ("two\nlines", "two lines"),
        (r"$x$ \textbf", r"\$x\$ \\textbf"),
    ],
)
def test_escaped_text_is_shown_literally(given, expected):
    assert escape(given) == expected


def test_the_summary_fits_eighty_columns(tmp_path, capsys):
    grid = {"noise.type": ["gaussian", "saliency_dropout"], "noise.when": ["train", "always"], **GRID}
    sweep = load_sweep(make_sweep(tmp_path / "s", grid).folder)
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(summary(sweep))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "baseline" in captured.get()


@pytest.mark.usefixtures("unpainted")
def test_the_command_compares_folders_and_refuses_what_is_no_sweep(tmp_path, capsys):
    folders = [str(make_sweep(tmp_path / name, GRID).folder) for name in ("one", "two")]
    assert main(folders) == 0
    assert "versus-two" in capsys.readouterr().out.replace("\n", "")
    assert main([str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert "is no folder" in error
    assert "Sweeps beside it: one, two" in error
    assert "Traceback" not in error


def test_the_report_loads_neither_torch_nor_detectron2(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    code = (
        f"import sys, ablation.report; ablation.report.build({str(paths.folder)!r}); "
        "print(sorted(m for m in ('torch', 'detectron2', 'hydra', 'omegaconf') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_pandas():
    code = (
        "import sys, ablation.report\ntry: ablation.report.main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted(m for m in ('pandas', 'matplotlib', 'scipy', 'rich') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
