"""The report: the same bytes from the same records, every cell in it, nothing claimed that cannot be."""

import subprocess
import sys

import pandas as pd
import pytest
from rich.console import Console
from sweep_factory import make_sweep

from ablation.record import Status
from ablation.report import answer, build, main, summary
from ablation.table import load_sweep

GRID = {"noise.sigma": [0, 0.05, 0.1], "seed": [0, 1]}


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


def test_a_sweep_of_failures_gives_a_report(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, status=lambda _: Status.FAILED)
    assert "6" in build(paths.folder).read_text()


def test_names_are_escaped(tmp_path):
    base = {"model.name": "<script>*m*|x"}
    paths = make_sweep(tmp_path / "s", {"model.name": ["<script>*m*|x", "b"], "noise.sigma": [0, 0.1]}, base=base)
    text = build(paths.folder).read_text()
    assert "<script>" not in text.replace("`", "")


def test_the_summary_fits_eighty_columns(tmp_path, capsys):
    grid = {"noise.type": ["gaussian", "saliency_dropout"], "noise.when": ["train", "always"], **GRID}
    sweep = load_sweep(make_sweep(tmp_path / "s", grid).folder)
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(summary(sweep))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "baseline" in captured.get()


def test_the_command_compares_folders_and_refuses_what_is_no_sweep(tmp_path, capsys):
    folders = [str(make_sweep(tmp_path / name, GRID).folder) for name in ("one", "two")]
    assert main(folders) == 0
    assert main([str(tmp_path / "none")]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_the_report_loads_neither_torch_nor_detectron2(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    code = (
        f"import sys, ablation.report; ablation.report.build({str(paths.folder)!r}); "
        "print(sorted(m for m in ('torch', 'detectron2', 'hydra', 'omegaconf') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
