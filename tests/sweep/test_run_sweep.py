"""What a sweep gives to its launcher, wave by wave, and what it does with the results."""

import json

import numpy as np
import pytest
from conftest import MICRO
from safetensors.numpy import save_file
from sweep_factory import read_cells

from ablation.config.schemas import validate_config
from ablation.models.levels import Levels, ProbedModel
from ablation.models.locate import needs_building
from ablation.records import provenance
from ablation.records.atomic import write_text
from ablation.records.errors import AblationError, Interrupted
from ablation.records.failure import Failure
from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record, write_record
from ablation.sweep import check_models
from ablation.sweep.sweep import SweepFailed, run_sweep

OUTPUTS = ("p2", "p3", "p4", "p5", "p6")


@pytest.fixture
def paths(tmp_path):
    return SweepPaths(tmp_path / "sweeps" / "micro-shapes")


@pytest.fixture
def swept(requested_cells, micro, tmp_path, monkeypatch, paths):
    """Run a grid with a launcher that only writes records; returns the run ids of each launch, then the error."""
    model = ProbedModel(Levels(OUTPUTS, ("res2",), OUTPUTS, OUTPUTS[:4]), iterations=6, batch_size=2)
    monkeypatch.setattr(check_models, "_probe_model", lambda _: model)

    def sweep_with(*overrides, fail=lambda one: None, environment=None):
        calls = []

        def launch(planned, _name):
            calls.append([one.cell.run_id for one in planned])
            failures = [fail(one) for one in planned]
            for one, failure in zip(planned, failures, strict=True):
                if failure is None:
                    complete(paths, one, environment or dict(provenance.versions()))
            return failures

        cells = requested_cells(*micro, f"sweep.root={tmp_path / 'sweeps'}", *overrides)
        try:
            run_sweep(cells, launch, workers=2, arguments=overrides)
        except (SweepFailed, Interrupted) as error:
            calls.append(str(error))
        return calls

    return sweep_with


def complete(paths, one, environment):
    ids = {"run_id": one.cell.run_id, "training_id": one.cell.training_id}
    common = {"status": Status.COMPLETED, "seed": one.config.seed, "environment": environment}
    training = paths.training(one.cell.training_id)
    write_record(training.record, TrainingRecord(**common, training_id=one.cell.training_id))
    save_file({"weight": np.zeros(1, np.float32)}, training.weights)
    write_record(paths.run(one.cell.run_id).record, RunRecord(**common, metrics={"segm/AP": 1.0}, **ids))


def test_a_run_for_each_training_comes_first_then_those_that_share_one(swept):
    first, second = swept("noise.sigma=0.1,0.2", "noise.when=train,always")
    assert len(first) == len(second) == 2
    assert swept("noise.sigma=0.1,0.2", "noise.when=train,always") == []


@pytest.mark.parametrize("message", ["Interrupted.", "Not started: the sweep was interrupted."])
def test_what_is_interrupted_starts_no_second_wave(swept, paths, message):
    calls = swept("noise.sigma=0.1", "noise.when=train,always", fail=lambda _: Failure("interrupted", message))
    assert len(calls) == 2
    assert "2 of 2 runs have no result" not in calls[0]
    (record,) = paths.folder.glob("runs/*/record.json")
    assert read_record(record, RunRecord).status is Status.INTERRUPTED


def test_a_failed_training_is_not_tried_once_more_for_each_run_that_shares_it(swept, paths):
    broken = Failure("exception", "It broke.", log="log.txt")
    calls = swept("noise.sigma=0.1", "noise.when=train,always", fail=lambda _: broken)
    assert len(calls[0]) == 1
    assert calls[1].startswith("2 of 2 runs have no result")
    records = [read_record(path, RunRecord) for path in paths.folder.glob("runs/*/record.json")]
    assert sorted(r.error.message for r in records) == ["It broke.", "Its training failed: It broke."]
    assert {r.error.log for r in records} == {"log.txt"}
    assert len(swept("noise.sigma=0.1", "noise.when=train,always")) == 2  # the next command tries again


@pytest.fixture
def diverging(paths):
    """Let the training of a run diverge, as `execute` does."""

    def diverge(one):
        failure = Failure("diverged", "It diverged.", "Lower it.", "log.txt")
        ids = {"run_id": one.cell.run_id, "training_id": one.cell.training_id}
        common = {"status": Status.DIVERGED, "seed": one.config.seed, "error": failure}
        training = TrainingRecord(**common, training_id=one.cell.training_id)
        write_record(paths.training(one.cell.training_id).record, training)
        write_record(paths.run(one.cell.run_id).record, RunRecord(**common, **ids))
        return failure

    return diverge


def test_a_diverged_training_is_a_result_of_all_runs_that_share_it(swept, paths, diverging):
    grid = ("noise.sigma=0.1", "noise.when=train,always")
    (launched,) = swept(*grid, fail=diverging)  # no second wave, no list of failures
    assert len(launched) == 1
    records = [read_record(path, RunRecord) for path in paths.folder.glob("runs/*/record.json")]
    assert [(r.status, r.error.message, r.metrics) for r in records] == [(Status.DIVERGED, "It diverged.", {})] * 2
    assert swept(*grid) == []
    assert swept(*grid, "evaluation.noise_grid.sigmas=[0.5]") == []  # other runs of the same training
    assert len(list(paths.folder.glob("runs/*/record.json"))) == 4


def test_the_plan_counts_what_diverged_as_done_and_names_it(swept, diverging, capsys):
    swept("noise.sigma=0,0.1", fail=lambda one: diverging(one) if one.config.noise.sigma else None)
    assert "micro-shapes: 1 of 2 cells completed, 1 diverged" in " ".join(capsys.readouterr().out.split())
    assert swept("noise.sigma=0,0.1") == []
    out = capsys.readouterr().out
    assert "2 runs, 2 trainings, 2 done (1 diverged), nothing to do" in out
    assert "diverged 1 of 1" in out


def test_a_divergence_that_is_recorded_as_a_failure_is_tried_once_more(swept, paths, diverging):
    swept("noise.sigma=0.1", "noise.when=train,always", fail=diverging)
    for path in (*paths.folder.glob("runs/*/record.json"), *paths.folder.glob("trainings/*/training.json")):
        path.write_text(path.read_text().replace('"status": "diverged"', '"status": "failed"'))
    (launched,) = swept("noise.sigma=0.1", "noise.when=train,always", fail=diverging)
    assert len(launched) == 1
    assert swept("noise.sigma=0.1", "noise.when=train,always") == []


def test_another_rule_for_diverged_seeds_needs_no_training_and_holds_for_all_cells(swept, paths, diverging):
    swept("noise.sigma=0,0.1", "seed=0,1", fail=lambda one: diverging(one) if one.config.noise.sigma else None)
    assert swept("noise.sigma=0", "evaluation.diverged=zero") == []
    cells = read_cells(paths.cells)
    assert len(cells) == 4
    assert {cell.config["evaluation.diverged"] for cell in cells} == {"zero"}
    assert "diverged 2 of 2, scored 0" in (paths.report / "report.md").read_text()


def test_a_failed_evaluation_stops_no_other_run_of_its_training(swept, paths):
    def fail(one):
        if one.config.noise.when == "always":
            return None
        training = one.cell.training_id
        record = TrainingRecord(Status.COMPLETED, 0, environment=provenance.versions(), training_id=training)
        write_record(paths.training(training).record, record)
        return Failure("exception", "no evaluation")

    first, second, message = swept("noise.sigma=0.1", "noise.when=train,always", fail=fail)
    assert len(first) == len(second) == 1
    assert message.startswith("1 of 2 runs have no result")


def test_results_of_other_versions_are_found_whatever_is_requested_next(swept):
    swept("noise.sigma=0", environment={"torch": "0.1"})
    with pytest.raises(AblationError, match=r"holds results of other versions: .*torch 0\.1 -> "):
        swept("noise.sigma=0.5")
    assert swept("noise.sigma=0.5", "sweep.allow_other_versions=true")


def test_a_dry_run_refuses_what_the_run_would(swept):
    swept("noise.sigma=0", environment={"torch": "0.1"})
    with pytest.raises(AblationError, match=r"holds results of other versions: .*torch 0\.1 -> "):
        swept("noise.sigma=0.5", "sweep.dry_run=true")


def test_results_of_other_code_are_named_by_the_part_that_changed(swept):
    swept("noise.sigma=0", environment={**provenance.versions(), "code": {"data": "0123", "scoring": "4567"}})
    with pytest.raises(AblationError, match=r"other versions: code of data; code of scoring\. Give the sweep"):
        swept("noise.sigma=0.5")


def test_results_with_one_fingerprint_of_all_code_are_accepted_with_a_remark(swept, capsys):
    swept("noise.sigma=0", environment={**provenance.versions(), "code": "0123456789ab"})
    assert swept("noise.sigma=0.5")
    assert "2 records are of a version that did not note which code decided a result" in capsys.readouterr().out


def test_another_commit_of_detectron2_is_another_version(swept):
    swept("noise.sigma=0", environment={**provenance.versions(), "detectron2 source": "commit 0123"})
    with pytest.raises(AblationError, match=r"detectron2 source commit 0123 -> "):
        swept("noise.sigma=0.5")


def test_a_checkpoint_of_other_versions_does_not_go_on(swept, paths):
    swept("noise.sigma=0.1", fail=lambda _: Failure("interrupted", "Stopped."))
    (training,) = {cell.training_id for cell in read_cells(paths.cells)}
    folder = paths.training(training)
    write_record(folder.record, TrainingRecord(Status.INTERRUPTED, 0, environment={"torch": "0.1"}))
    assert swept("noise.sigma=0.2")  # nothing of the other versions would go on or be reported
    write_text(folder.checkpoint, "")
    with pytest.raises(AblationError, match="other versions"):
        swept("noise.sigma=0.1")


@pytest.mark.parametrize(
    ("length", "iterations"),
    [(["schedule.epochs=2"], 8), (["schedule.epochs=2", "schedule.batch_size=4"], 4), ([], 6), (["seed=0"], 6)],
)
def test_a_noise_schedule_must_fit_the_length_that_epochs_or_the_config_give(swept, length, iterations):
    rising = ["noise.sigma=0.1", "noise.schedule.shape=linear", *length]
    assert swept(*rising, f"noise.schedule.full={iterations}", "sweep.dry_run=true") == []
    for key, sign in (("full", "<="), ("start", "<")):
        at = iterations + 1
        with pytest.raises(AblationError, match=rf"noise\.schedule\.{key} must be {sign} {iterations}, .* got {at}: "):
            swept(*rising, f"noise.schedule.{key}={at}", "sweep.dry_run=true")


def test_finished_trainings_without_validation_losses_are_named_in_the_plan(swept, capsys, paths):
    swept("noise.sigma=0.1")
    capsys.readouterr()
    ask = ["noise.sigma=0.1", "evaluation.loss_period=1", "sweep.dry_run=true"]
    swept(*ask)
    (training,) = {cell.training_id for cell in read_cells(paths.cells)}
    assert (
        f"1 of the finished trainings have no validation losses, which are computed during a training only, the "
        f"first is {training}. To train again: sweep.name=..." in capsys.readouterr().out
    )
    write_text(paths.training(training).metrics, '{"validation/total_loss": 1.0}\n')
    swept(*ask)
    assert "validation" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        ([], False),
        (["model=mask_rcnn_r50_fpn"], False),
        (["model=mask_rcnn_r50_fpn", "model.weights=ablation://tiny_mask_rcnn.safetensors"], True),
        ([*MICRO[:3]], False),
        (["+model.overrides.VIS_PERIOD=1"], True),
        (["noise.levels=[p2]"], True),
        (["noise.schedule.start=3"], True),
    ],
)
def test_a_dry_run_builds_a_model_only_if_something_depends_on_it(compose, overrides, needed):
    config = validate_config(compose(*overrides))
    assert (needs_building(config.model) or check_models._needs_levels_or_length(config)) == needed


def test_a_level_that_the_destination_does_not_read_is_an_invalid_cell(swept, paths):
    calls = swept("noise.sigma=0.1", "noise.destination=roi", "noise.levels=[p2],[p6]")
    assert len(calls[0]) == 1
    assert "'p6' is not read by the destination roi of micro. Choose from p2, p3, p4, p5" in calls[1]
    assert json.loads(paths.sweep.read_text())[-1]["invalid"][0]["factors"]["noise.levels"] == ["p6"]
    assert "'p6' is not read" in (paths.report / "report.md").read_text()


def test_damaged_files_of_the_sweep_are_set_aside_and_written_again(swept, paths):
    swept("noise.sigma=0,0.1")
    paths.sweep.write_text("3")
    paths.cells.write_bytes(paths.cells.read_bytes()[:-20])  # its last line is cut off
    swept("noise.sigma=0.2")
    assert [entry["command"].split()[-1] for entry in json.loads(paths.sweep.read_text())] == ["noise.sigma=0.2"]
    assert paths.sweep.with_suffix(".torn").read_text() == "3"
    assert paths.cells.with_suffix(".torn").exists()
    assert [cell.sigma for cell in read_cells(paths.cells)] == [0.0, 0.2]


def test_another_primary_metric_asks_for_no_second_row(swept, paths):
    swept("noise.sigma=0,0.1")
    swept("noise.sigma=0", "evaluation.primary_metric=bbox/AP")
    cells = read_cells(paths.cells)
    assert len(cells) == 2
    assert {cell.config["evaluation.primary_metric"] for cell in cells} == {"bbox/AP"}


def test_a_folder_with_any_characters_reaches_the_jobs_as_it_is():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from ablation.records.overrides import hydra_value

    for text in ("a b", "é", "~/x", "a=b,c", "(x)[y]{z}", "#&'\"", "back\\", "20261127"):
        assert OverridesParser.create().parse_override(f"hydra.sweep.dir={hydra_value(text)}").value() == text
