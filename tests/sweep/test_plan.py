"""From a command line to the work that is left: cells, shared trainings, what is done, what is invalid."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ablation.records.atomic import write_text
from ablation.records.errors import AblationError, ConfigError
from ablation.records.failure import Failure
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.records.storage import write_record
from ablation.sweep.make_plan import make_plan
from ablation.sweep.sweep import _append_history

ROOT = Path(__file__).parents[2]
CONTRACT = ("noise.sigma=0,0.05,0.1", "noise.when=train,always", "seed=0,1")


@pytest.fixture
def planned(requested_cells, micro, tmp_path):
    return lambda *arguments: make_plan(requested_cells(*micro, f"sweep.root={tmp_path / 'sweeps'}", *arguments))


def _complete_run(plan_, one, seconds=30.0):
    ids = {"run_id": one.cell.run_id, "training_id": one.cell.training_id}
    times = {"started": 0.0, "finished": seconds, "seconds": seconds}
    record = RunRecord(Status.COMPLETED, one.config.seed, metrics={"bbox/AP": 1.0}, **times, **ids)
    write_record(plan_.paths.run(one.cell.run_id).record, record)


def _complete_training(plan_, training_id, seconds=60.0):
    record = TrainingRecord(Status.COMPLETED, 0, seconds=seconds, training_id=training_id)
    write_record(plan_.paths.training(training_id).record, record)
    save_file({"weight": np.zeros(1, np.float32)}, plan_.paths.training(training_id).weights)


def test_the_summary_of_the_data_is_stored_with_the_command(requested_cells, micro, coco_folder, tmp_path):
    folder = coco_folder()
    model = [override for override in micro if override.startswith("model.")]
    files = [f"dataset.{split}_json={folder}/{split}.json" for split in ("train", "test")]
    files += [f"dataset.{split}_images={folder}/images" for split in ("train", "test")]
    cells = make_plan(requested_cells(*model, "dataset=coco_json", *files, f"sweep.root={tmp_path}/sweeps", "seed=0,1"))
    _append_history(cells, ["seed=0,1"])
    (command,) = json.loads(cells.paths.sweep.read_text())
    assert list(command["data"]) == ["coco_json"]
    assert command["data"]["coco_json"][0].startswith("2 images with 4 objects to train on and 2 images")
    assert command["data"]["coco_json"][1].startswith("2 of 2 test images are also trained on")


def test_a_grid_shares_trainings_and_baselines(planned):
    grid = planned(*CONTRACT)
    assert (len(grid.cells), len(grid.trainings), len(grid.runs)) == (12, 6, 10)
    assert grid.describe() == (
        "12 runs (2 sharing another one's result), 6 trainings, time unknown until one training is done"
    )


def test_the_baseline_is_shared_by_all_types_and_phases(planned):
    grid = planned("noise=gaussian,speckle,uniform", "noise.sigma=0", "noise.when=train,eval,always", "seed=0,1")
    assert (len(grid.cells), len(grid.runs), len(grid.trainings)) == (18, 2, 2)
    assert all(run_id.startswith("baseline-") for run_id in grid.runs)


def test_an_evaluation_only_sweep_trains_one_model_per_seed(planned):
    grid = planned("noise.sigma=0,0.1,0.2,0.3", "noise.when=eval", "seed=range(3)")
    assert (len(grid.runs), len(grid.trainings)) == (12, 3)


def test_no_two_runs_of_a_wave_share_a_training_that_is_to_do(planned):
    grid = planned(*CONTRACT)
    first, second = grid.waves
    assert len({p.cell.training_id for p in first}) == len(first) == 6
    assert {p.cell.run_id for p in first} | {p.cell.run_id for p in second} == set(grid.runs)
    assert {p.cell.training_id for p in second} <= {p.cell.training_id for p in first}


def test_runs_are_done_in_the_order_requested(planned):
    assert [p.config.seed for p in planned("seed=3,1,2").to_do] == [3, 1, 2]


def test_what_is_completed_is_not_done_again(planned):
    before = planned(*CONTRACT)
    first, second = before.waves
    for one in first:
        _complete_training(before, one.cell.training_id)
    _complete_run(before, first[0])
    after = planned(*CONTRACT)
    assert len(after.to_do) == 9
    assert [len(wave) for wave in after.waves] == [0, 9]
    assert after.describe().endswith("6 trainings (6 done), 1 done, about 4 min")  # nine evaluations of half a minute
    for one in [*first, *second]:
        _complete_run(before, one)
    assert planned(*CONTRACT).describe().endswith("6 trainings, 10 done, nothing to do")


def test_a_grown_grid_adds_only_its_new_cells(planned):
    before = planned("noise.sigma=0,0.05")
    for one in before.cells:
        _complete_run(before, one)
    assert [p.config.noise.sigma for p in planned("noise.sigma=0,0.05,0.1").to_do] == [0.1]


def test_failed_interrupted_running_and_damaged_records_are_to_do(planned):
    grid = planned("seed=range(4)")
    statuses = {0: Status.FAILED, 1: Status.INTERRUPTED, 2: Status.RUNNING}
    for one in grid.cells:
        path = grid.paths.run(one.cell.run_id).record
        if (status := statuses.get(one.config.seed)) is None:
            write_text(path, "{")
        else:
            write_record(path, RunRecord(status, 0, Failure("exit", "x") if status is Status.FAILED else None))
    assert len(planned("seed=range(4)").to_do) == 4


def test_the_time_left_is_that_of_the_finished_trainings_over_the_workers(planned):
    grid = planned("seed=range(7)")
    _complete_training(grid, grid.cells[0].cell.training_id, seconds=600.0)
    assert planned("seed=range(7)").describe(workers=2).endswith("about 30 min")


def test_the_time_is_estimated_by_trainings_of_earlier_commands_if_none_of_this_command_is_done(planned):
    grid = planned("seed=0")
    _complete_training(grid, grid.cells[0].cell.training_id, seconds=600.0)
    assert planned("seed=1,2").describe(workers=1).endswith("about 20 min")


def test_weights_that_are_gone_are_trained_again(planned):
    grid = planned("seed=0,1")
    _complete_training(grid, grid.cells[0].cell.training_id)
    grid.paths.training(grid.cells[0].cell.training_id).weights.unlink()
    assert len(planned("seed=0,1").waves[0]) == 2


def test_a_name_made_of_too_many_models_asks_for_one(planned):
    names = ",".join(f"{letter * 40}" for letter in "abc")
    with pytest.raises(ConfigError, match=r"sweep\.name must be at most 80 characters long.*Give sweep\.name="):
        planned(f"model.name={names}")


def test_a_native_parameter_has_its_place_on_the_axis_of_sigma(planned):
    grid = planned("noise=dropout", "noise.params.p=0,0.5")
    assert [p.cell.sigma for p in grid.cells] == [0, 1]
    assert grid.cells[0].cell.run_id == planned("noise.sigma=0").cells[0].cell.run_id


def test_another_generation_of_the_data_has_other_content(planned):
    one, other = (planned(f"dataset.seed={seed}").cells[0].cell.config["dataset.content"] for seed in (1, 2))
    assert one != other


def test_invalid_cells_are_listed_and_the_others_planned(planned):
    grid = planned("noise.sigma=0.1,-1", "noise=gaussian,dsu")
    assert [(i.factors["noise"], i.factors["noise.sigma"]) for i in grid.invalid] == [
        ("dsu", 0.1),
        ("gaussian", -1),
        ("dsu", -1),
    ] or len(grid.invalid) == 3
    assert len(grid.cells) == 1
    assert {i.reason for i in grid.invalid} == {
        "noise.sigma must be >= 0, got -1.0.",
        "noise.sigma must be null or 0 (off) for dsu, got 0.1: its strength follows from the features and is "
        "measured. Leave noise.sigma out.",
    } | {i.reason for i in grid.invalid if "-1" in i.reason}
    assert "3 invalid" in grid.describe()


def test_a_plan_without_a_valid_cell_is_refused_with_the_first_reasons(planned):
    with pytest.raises(AblationError) as refused:
        planned("seed=-1,-2,-3,-4")
    assert str(refused.value) == "seed must be >= 0, got -1.\nseed must be >= 0, got -2.\n... and 2 more."


def test_an_empty_grid_is_refused(planned):
    with pytest.raises(AblationError, match=r"^The command requests no run: a sweep among its values is empty\.$"):
        planned("noise=glob(zzz*)")


def test_a_sweep_over_models_or_data_is_one_folder(planned, tmp_path):
    assert planned("dataset.name=a,b").paths.folder == tmp_path / "sweeps" / "micro-a+micro-b"
    assert planned("dataset.name=a,b", "sweep.name=x").paths.folder == tmp_path / "sweeps" / "x"


def test_factors_are_the_swept_keys_as_typed(planned):
    cells = planned("noise=gaussian,speckle", "noise.levels=all,[p2]", "seed=1").cells
    assert cells[1].cell.factors == {"noise": "gaussian", "noise.levels": ["p2"]}
    assert cells[1].cell.config["noise"] == "gaussian"
    assert cells[1].cell.config["noise.levels"] == ["p2"]
    assert cells[1].cell.config["model"] == "tiny_mask_rcnn"


def test_the_experiment_pins_two_strengths_and_the_command_line_replaces_them(requested_cells):
    assert [a.composed["noise"]["sigma"] for a in requested_cells("experiment=deepmirror")] == [0, 0.11547]
    typed = requested_cells("experiment=deepmirror", "noise.sigma=0,0.2,0.3")
    assert [a.composed["noise"]["sigma"] for a in typed] == [0, 0.2, 0.3]
    assert [a.composed["noise"]["sigma"] for a in requested_cells("experiment=deepmirror", "noise.sigma=0.2")] == [0.2]


def test_presets_are_not_swept(requested_cells):
    with pytest.raises(ConfigError, match=r"experiment=dsu,mixstyle sweeps presets.*one command for each"):
        requested_cells("experiment=dsu,mixstyle")


@pytest.mark.parametrize(
    "arguments",
    [
        ["noise.sigma=0,0.1"],
        ["noise.sigma=0,1,1e-3,null,abc", "seed=range(2)"],
        ["noise=gaussian,uniform,mixstyle", "noise.when=train,eval"],
        ["noise=dropout,channel_dropout", "noise.params.p=0.1,0.2"],
        ["noise.levels=all,[p2],[p3,p4]"],
        ["model=tiny_mask_rcnn,mask_rcnn_r50_fpn", "seed=0,1"],
        ["dataset=shapes,coco_json"],
        ["experiment=deepmirror"],
        ["experiment=deepmirror", "noise.levels=[p2],[p3]", "seed=5"],
        ["+model.overrides.MODEL.MASK_ON=true,false"],
        ["+model.overrides.MODEL.RPN.NMS_THRESH=0.5", "seed=0,1"],
        ["+model.overrides={A: 1},{B: 2}"],
        ["sweep.root=a,b"],
        ["dataset.folder=a,b", "sweep.root=c"],
        ["sweep.name='a b','c,d'"],
        ["noise.schedule={shape: linear},{start: 3}"],
        ["noise.schedule=1,2"],
        ["dataset.folder='${sweep.root}/x','${sweep.name}/y'", "sweep.name=n,m"],
        ["~noise.schedule.start", "seed=0,1"],
        ["noise=glob(drop*)"],
        ["seed=sort(3,1,2)"],
    ],
    ids=" ".join,
)
def test_cells_are_composed_as_hydra_composes_them(requested_cells, compose, arguments):
    found = requested_cells(*arguments)
    assert found
    for one in found:
        expected = compose(*(o for o in one.overrides if not o.startswith("hydra.")))
        assert one.composed == expected
        assert {k: type(v) for k, v in one.composed.items()} == {k: type(v) for k, v in expected.items()}


def test_a_thousand_cells_are_planned_in_seconds(planned):
    started = time.perf_counter()
    grid = planned(
        "noise=gaussian,speckle,channel_stats,none,quantization",
        "noise.levels=all,[p2],[p3],[p4],[p5]",
        "noise.when=train,always",
        "schedule.iterations=10,20",
        "seed=range(10)",
    )
    seconds = time.perf_counter() - started
    print(f"{len(grid.cells)} cells planned in {seconds:.1f} s")
    assert len(grid.cells) == 1000
    assert seconds < 100  # a tenth of that on an idle machine; limits catch what hangs, not what is slow


def test_a_primary_metric_without_a_value_is_told_once(planned):
    overrides = ("evaluation.primary_metric=segm/APl", "noise.sigma=0,0.1")
    assert planned(*overrides).remarks == (
        "evaluation.primary_metric=segm/APl has no value on the test images of shapes: no object has an area from "
        "96 x 96 pixels. Choose one that has, such as evaluation.primary_metric=bbox/AP.",
    )
