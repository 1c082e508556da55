"""A sweep folder as frames: one row per cell, whatever state its run is in."""

import math
import shutil

import pytest
from sweep_factory import make_sweep

from ablation.records.cells import Cell, format_factor, write_cells
from ablation.records.errors import AblationError
from ablation.records.paths import SweepPaths
from ablation.records.schema import Status
from ablation.report.loading.sweep import load_sweep, load_sweeps

GRID = {"noise.sigma": [0, 0.05, 0.1], "seed": [0, 1]}


def test_a_row_per_cell_with_columns_named_as_typed(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", GRID).folder)
    assert len(sweep.runs) == 6
    assert sweep.factors == ("noise.sigma",)
    assert list(sweep.runs["noise.sigma"]) == [0, 0, 0.05, 0.05, 0.1, 0.1]
    assert {"run_id", "training_id", "status", "seed", "segm/AP", "bbox/AP50"} <= set(sweep.runs)
    assert sweep.primary_metric == "segm/AP"


def test_cells_that_share_a_run_repeat_its_numbers(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.type": ["gaussian", "uniform"], "noise.sigma": [0]}).folder)
    assert len(sweep.runs) == 2
    assert sweep.runs["run_id"].nunique() == sweep.runs["segm/AP"].nunique() == 1


def test_a_grown_grid_has_the_factors_of_all_its_commands(tmp_path):
    make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]})
    make_sweep(tmp_path / "s", {"noise.sigma": [0.1], "noise.levels": [["p2"], ["p5"]]})
    sweep = load_sweep(tmp_path / "s")
    assert set(sweep.factors) == {"noise.sigma", "noise.levels"}
    assert len(sweep.runs) == 4
    assert "all" in set(sweep.runs["noise.levels"])


def test_unfinished_cells_are_listed_not_dropped(tmp_path):
    states = {0: Status.COMPLETED, 0.05: Status.FAILED, 0.1: Status.PLANNED}
    paths = make_sweep(tmp_path / "s", GRID, status=lambda config: states[config["noise.sigma"]])
    sweep = load_sweep(paths.folder)
    assert list(sweep.runs["status"]) == ["completed"] * 2 + ["failed"] * 2 + ["planned"] * 2
    assert sweep.runs["segm/AP"].notna().sum() == 2
    assert len(sweep.failures) == 2


def breaking(config):
    return Status.DIVERGED if config["noise.sigma"] == 0.1 and config["seed"] else Status.COMPLETED


def test_a_diverged_run_is_no_failure_and_has_no_metrics(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", GRID, status=breaking).folder)
    assert list(sweep.runs["status"]) == ["completed"] * 5 + ["diverged"]
    assert sweep.runs["segm/AP"].notna().tolist() == [True] * 5 + [False]
    assert sweep.failures == ()
    assert [run.run_id for run in sweep.diverged] == [sweep.runs["run_id"].iloc[-1]]
    assert sweep.is_finished


def test_a_run_that_was_not_reached_diverged_with_its_training(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID, status=breaking)
    paths.run(load_sweep(paths.folder).runs["run_id"].iloc[-1]).record.unlink()
    assert load_sweep(paths.folder).runs["status"].iloc[-1] == "diverged"


def test_a_diverged_run_scores_zero_in_all_that_is_defined_if_asked_for(tmp_path):
    base = {"evaluation.diverged": "zero"}
    sweep = load_sweep(make_sweep(tmp_path / "s", GRID, status=breaking, base=base, is_full=True).folder)
    last = sweep.runs.iloc[-1]
    assert last["status"] == "diverged"
    assert last["segm/AP"] == last["bbox/AP50"] == last["segm/mPFN"] == 0
    assert math.isnan(last["segm/APl"])  # no ground truth of that size
    assert math.isnan(last["segm/rPFN"])  # 0 of 0
    grid = sweep.grid[sweep.grid["run_id"] == last["run_id"]]
    assert len(grid) == 8
    assert set(grid["value"]) == {0}


def test_a_running_record_whose_process_is_gone_is_interrupted(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]}, status=lambda _: Status.RUNNING)
    assert list(load_sweep(paths.folder).runs["status"]) == ["interrupted"]


def test_a_corrupt_record_is_a_failed_row(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    run_id = load_sweep(paths.folder).runs["run_id"][0]
    paths.run(run_id).record.write_text('{"torn": ')
    sweep = load_sweep(paths.folder)
    assert list(sweep.runs["status"]).count("failed") == 1
    assert sweep.failures[0].run_id == run_id


def test_a_torn_last_line_and_repeated_iterations_of_a_curve_are_forgiven(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]}, points=5)
    before = load_sweep(paths.folder).curves
    (metrics,) = paths.folder.glob("trainings/*/metrics.jsonl")
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines, lines[-1], lines[-1][:20]]))
    assert load_sweep(paths.folder).curves.equals(before)


@pytest.mark.parametrize("name", ["one", "./x/../one", "link", "{}/one"])
def test_a_sweep_is_not_compared_with_itself(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make_sweep(tmp_path / "one", GRID)
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("one")
    with pytest.raises(AblationError, match="are the same sweep, and it is not compared with itself"):
        load_sweeps(["one", name.format(tmp_path)])


def test_a_torn_last_line_of_the_cells_loses_that_cell_alone_and_is_told(tmp_path):
    paths = make_sweep(tmp_path / "s", GRID)
    paths.cells.write_bytes(paths.cells.read_bytes()[:-30])
    sweep = load_sweep(paths.folder)
    assert len(sweep.runs) == 5
    assert sweep.remarks[0].run_id == "cells.jsonl"
    assert "line 6 is not a cell" in sweep.remarks[0].reason


def test_the_log_of_a_failure_is_named_where_it_is_and_only_if_it_is(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]}, status=lambda _: Status.FAILED)
    assert load_sweep(paths.folder).failures[0].log == ""
    (run,) = (paths.folder / "runs").iterdir()
    (run / "log.txt").write_text("")
    assert load_sweep(paths.folder).failures[0].log == f"runs/{run.name}/log.txt"
    moved = (paths.folder).rename(tmp_path / "moved")
    assert load_sweep(moved).failures[0].log == f"runs/{run.name}/log.txt"


def test_several_folders_get_a_sweep_column(tmp_path):
    folders = [make_sweep(tmp_path / name, GRID).folder for name in ("one", "two")]
    sweep = load_sweeps(folders)
    assert sweep.factors[0] == "sweep"
    assert len(sweep.runs) == 12


def test_what_is_no_sweep_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(AblationError, match=str(tmp_path)):
        load_sweep(tmp_path)


def test_a_line_torn_in_the_middle_is_told(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]}, points=5)
    (metrics,) = paths.folder.glob("trainings/*/metrics.jsonl")
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([lines[0], lines[1][:9], *lines[2:]]) + "\n")
    sweep = load_sweep(paths.folder)
    assert "1 line" in sweep.remarks[0].reason
    assert sweep.curves["iteration"].nunique() == 4


def test_a_key_that_no_command_swept_but_that_differs_is_a_factor(tmp_path):
    make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}, base={"schedule.iterations": 100})
    make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}, base={"schedule.iterations": 200})
    sweep = load_sweep(tmp_path / "s")
    assert sweep.factors == ("schedule.iterations", "noise.sigma")
    assert list(sweep.runs["schedule.iterations"]) == [100, 100, 200, 200]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((["p2"], "p2"), (["p2", "p3"], "p2+p3"), ([], "[]"), (["p2+p3"], '["p2+p3"]')),
        *(("all", "all"), (None, "null"), (True, "true"), (0.1, 0.1)),
    ],
)
def test_values_are_readable(value, shown):
    assert format_factor(value) == shown


def test_a_swept_group_is_looked_up_by_its_type_and_its_sigma_is_the_resolved_one(tmp_path):
    cells = [
        Cell(t, t, {"noise": t}, {"noise.type": t, "noise.sigma": typed, "seed": 0}, sigma)
        for t, typed, sigma in (("none", None, 0.0), ("dropout", None, 1.0), ("dsu", None, None))
    ]
    write_cells(SweepPaths(tmp_path).cells, cells)
    runs = load_sweep(tmp_path).runs.set_index("noise")
    assert runs.loc["none", "noise.sigma"] == 0
    assert runs.loc["dropout", "noise.sigma"] == 1
    assert math.isnan(runs.loc["dsu", "noise.sigma"])
    assert set(runs["status"]) == {"planned"}


def test_a_sweep_beside_another_has_the_others_factors_from_its_own_config(tmp_path):
    one = make_sweep(tmp_path / "one", {"noise.sigma": [0, 0.1]}).folder
    two = make_sweep(tmp_path / "two", {"noise.type": ["uniform"], "noise.sigma": [0.1]}).folder
    sweep = load_sweeps([one, two])
    assert list(sweep.runs["noise.type"]) == ["gaussian", "gaussian", "uniform"]


def test_a_noise_that_changed_nothing_is_remarked(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0.1]})
    for path in paths.folder.glob("trainings/*/training.json"):
        path.write_text(path.read_text().replace('"noise_rms": 0.2', '"noise_rms": 0.0'))
    assert "The noise changed nothing at p2" in load_sweep(paths.folder).remarks[0].reason


def test_levels_hold_the_realised_ratio(tmp_path):
    levels = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0.1]}).folder).levels
    assert set(levels["level"]) == {"p2", "p3"}
    assert levels["snr_db"].tolist() == pytest.approx([20.0, 20.0])


def test_what_runs_were_asked_for_beyond_their_metrics_stands_in_frames(tmp_path):
    make_sweep(tmp_path / "s", {"noise.sigma": [0.0, 0.5], "seed": [0, 1]}, is_full=True)
    sweep = load_sweep(tmp_path / "s")
    assert len(sweep.corruptions) == 4 * 3 * 3 * 2
    assert set(sweep.error_shift["kind"]) >= {"Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"}
    training = sweep.cost[sweep.cost["phase"] == "train"].set_index("id")
    assert training["iteration_seconds"].groupby(training["peak_memory"]).first().tolist() == [0.25, 0.255]
    assert sweep.cost["seconds"][sweep.cost["phase"] == "eval"].tolist() == [6.0] * 4
    both = load_sweeps([tmp_path / "s", shutil.copytree(tmp_path / "s", tmp_path / "t")])
    assert len(both.corruptions) == 2 * len(sweep.corruptions)
    assert both.cost["sweep"].value_counts().to_dict() == {"s": len(sweep.cost), "t": len(sweep.cost)}
