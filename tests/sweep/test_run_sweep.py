"""What a sweep gives to its launcher, wave by wave, and what it does with the results."""

import json

import pytest

from ablation.models.levels import Levels
from ablation.records import provenance
from ablation.records.atomic import write_text
from ablation.records.cells import read_cells
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
    monkeypatch.setattr(check_models, "_find_levels", lambda _: Levels(OUTPUTS, ("res2",), OUTPUTS, OUTPUTS[:4]))

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
    write_text(training.weights, "")
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
    diverged = Failure("diverged", "It diverged.", log="log.txt")
    calls = swept("noise.sigma=0.1", "noise.when=train,always", fail=lambda _: diverged)
    assert len(calls[0]) == 1
    assert calls[1].startswith("2 of 2 runs have no result")
    records = [read_record(path, RunRecord) for path in paths.folder.glob("runs/*/record.json")]
    assert sorted(r.error.message for r in records) == ["It diverged.", "Its training failed: It diverged."]
    assert {r.error.log for r in records} == {"log.txt"}
    assert len(swept("noise.sigma=0.1", "noise.when=train,always")) == 2  # the next command tries again


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


def test_a_checkpoint_of_other_versions_does_not_go_on(swept, paths):
    swept("noise.sigma=0.1", fail=lambda _: Failure("interrupted", "Stopped."))
    (training,) = {cell.training_id for cell in read_cells(paths.cells)}
    folder = paths.training(training)
    write_record(folder.record, TrainingRecord(Status.INTERRUPTED, 0, environment={"torch": "0.1"}))
    assert swept("noise.sigma=0.2")  # nothing of the other versions would go on or be reported
    write_text(folder.checkpoint, "")
    with pytest.raises(AblationError, match="other versions"):
        swept("noise.sigma=0.1")


def test_a_level_that_the_destination_does_not_read_is_an_invalid_cell(swept, paths):
    calls = swept("noise.sigma=0.1", "noise.destination=roi", "noise.levels=[p2],[p6]")
    assert len(calls[0]) == 1
    assert "'p6' is not read by the destination roi of micro. Choose from p2, p3, p4, p5" in calls[1]
    assert json.loads(paths.sweep.read_text())[-1]["invalid"][0]["factors"]["noise.levels"] == ["p6"]
    assert "'p6' is not read" in (paths.report / "report.md").read_text()


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
