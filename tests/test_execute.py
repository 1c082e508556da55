"""One configuration in, one record out; what is done is not done again; what fails is recorded."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from ablation.execute import execute
from ablation.records.errors import Busy, Diverged, Interrupted
from ablation.records.failure import failure_from
from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record, write_record


@pytest.fixture
def sweep(tmp_path):
    return SweepPaths(tmp_path / "sweeps" / "micro-shapes")


@pytest.fixture
def run(compose, micro, tmp_path):
    def execute_with(*overrides):
        return execute(compose(*micro, f"sweep.root={tmp_path}/sweeps", *overrides))

    return execute_with


def training_of(sweep, record):
    return read_record(sweep.training(record.training_id).record, TrainingRecord)


def test_a_run_leaves_what_it_cost_its_kinds_of_error_and_pictures(run, sweep):
    record = run("noise.sigma=0", "evaluation.pictures=2", "evaluation.corruptions=[contrast]")
    read = read_record(sweep.run(record.run_id).record, RunRecord)
    assert read == record
    assert len(list(sweep.run(record.run_id).pictures.glob("*.png"))) == 2
    assert set(read.error_shift) == {"bbox", "segm"}
    assert set(read.error_shift["bbox"]) == {"Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"}
    assert [(cell.corruption, cell.severity) for cell in read.corruptions] == [("contrast", s) for s in range(1, 6)]
    assert 0 < read.evaluation_seconds < read.seconds
    for memory in (read.peak_memory, training_of(sweep, record).peak_memory):
        assert 100 < memory < 100_000  # MiB


def test_a_run_leaves_record_config_log_metrics_and_events(run, sweep):
    record = run("noise.sigma=0.5", "noise.when=always")
    assert read_record(sweep.run(record.run_id).record, RunRecord) == record
    assert record.status is Status.COMPLETED
    assert {"bbox/AP", "segm/AP", "segm/AP50", "segm/APl"} <= set(record.metrics)
    assert record.telemetry["p2"].sigma == pytest.approx(0.5, rel=0.1)
    assert {"torch", "detectron2", "code", "device", "threads", "host", "pid"} <= set(record.environment)
    training = sweep.training(record.training_id)
    assert training_of(sweep, record).iterations == 6
    assert sweep.run(record.run_id).config.read_text() == training.config.read_text()
    assert "Iteration 6 of 6" in training.log.read_text()
    assert list(training.folder.glob("events.out.tfevents.*"))
    assert not training.checkpoint.exists()


def test_the_second_time_nothing_is_computed(run, sweep):
    first = run("noise.sigma=0.5")
    path = sweep.run(first.run_id).record
    before = path.stat().st_mtime_ns
    assert run("noise.sigma=0.5") == first
    assert path.stat().st_mtime_ns == before


def test_evaluation_noise_shares_the_training_and_changes_the_metrics_only(run, sweep):
    clean = run("noise.sigma=0")
    trained = sweep.training(clean.training_id).weights.stat().st_mtime_ns
    noisy = run("noise.sigma=0.9", "noise.when=eval")
    assert noisy.training_id == clean.training_id
    assert noisy.run_id != clean.run_id
    assert sweep.training(clean.training_id).weights.stat().st_mtime_ns == trained


def test_a_model_in_memory_and_one_from_disk_score_the_same(run, sweep):
    first = run("noise.sigma=0.5")
    sweep.run(first.run_id).record.unlink()
    assert run("noise.sigma=0.5").metrics == first.metrics


def test_a_training_that_diverges_is_recorded_so_for_each_of_its_runs_and_never_repeated(run, sweep, monkeypatch):
    breaking = ("noise.sigma=0.1", "schedule.lr=1e20", "sweep.checkpoint_period=1")
    with pytest.raises(Diverged):
        run(*breaking)
    monkeypatch.setattr("ablation.execute.Training", None)  # nothing trains any more
    for when in ("train", "always"):
        with pytest.raises(Diverged, match="The training diverged at iteration"):
            run(*breaking, f"noise.when={when}")
    records = [read_record(path, RunRecord) for path in sweep.folder.glob("runs/*/record.json")]
    assert len(records) == 2
    for ended in (*records, training_of(sweep, records[0])):
        assert ended.status is Status.DIVERGED
        assert ended.error.kind == "diverged"
        assert ended.error.advice.startswith("Lower schedule.lr or noise.sigma")
    assert not sweep.training(records[0].training_id).checkpoint.exists()


@pytest.mark.parametrize("name", [".reserve", "save_weights", "write_pictures", "write_resamples"])
def test_a_disk_that_gets_full_at_any_time_is_recorded(run, sweep, monkeypatch, name):
    def full(*_arguments, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if name == ".reserve":
        monkeypatch.setattr(Path, "write_bytes", full)
    else:
        monkeypatch.setattr(f"ablation.execute.{name}", full)
    with pytest.raises(OSError, match="No space left"):
        run("noise.sigma=0")
    (run_folder,) = (sweep.folder / "runs").iterdir()
    record = read_record(sweep.run(run_folder.name).record, RunRecord)
    assert record.status is Status.FAILED
    assert record.error.kind == "out-of-space"
    assert not list(sweep.folder.rglob(".reserve"))


def test_the_seconds_of_a_resumed_training_are_those_of_all_its_parts(run, sweep, monkeypatch):
    steps = iter(range(3))

    def stop(_training, _done, _total):
        if next(steps) == 2:
            raise Interrupted("Stopped.")

    with monkeypatch.context() as patched:
        patched.setattr("ablation.training.trainer._Bookkeeping._report", stop)
        with pytest.raises(Interrupted):
            run("sweep.checkpoint_period=1", "sweep.log_period=1")
    (path,) = sweep.folder.glob("trainings/*/training.json")
    first = read_record(path, TrainingRecord)
    assert first.status is Status.INTERRUPTED
    write_record(path, replace(first, seconds=1000.0))
    assert 1000 < training_of(sweep, run("sweep.checkpoint_period=1", "sweep.log_period=1")).seconds < 2000


def test_a_failed_run_is_tried_again(run, sweep, monkeypatch):
    import ablation.execute as module

    def broken(*_):
        raise RuntimeError("disk on fire")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(module, "evaluate", broken)
        run("noise.sigma=0")
    record = run("noise.sigma=0")
    assert record.status is Status.COMPLETED


def test_a_damaged_record_is_set_aside(run, sweep):
    first = run("noise.sigma=0")
    path = sweep.run(first.run_id).record
    path.write_text(path.read_text()[:100])
    again = run("noise.sigma=0")
    assert again.metrics == first.metrics
    assert path.with_suffix(".torn").exists()


@pytest.mark.parametrize("content", [b"<html>", None])
def test_damaged_weights_of_a_finished_training_are_set_aside_and_trained_again(run, sweep, content):
    first = run("noise.sigma=0")
    weights = sweep.training(first.training_id).weights
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100] if content is None else content)
    assert run("noise.sigma=0.9", "noise.when=eval").training_id == first.training_id
    assert weights.read_bytes() == whole
    assert weights.with_suffix(".torn").exists()


def test_what_a_completed_record_names_is_there_before_it(run, sweep, monkeypatch):
    seen = []

    def checked(path, record):
        if record.status is Status.COMPLETED:
            seen.append({file.name for file in path.parent.iterdir()})
        write_record(path, record)

    monkeypatch.setattr("ablation.execute.write_record", checked)
    run("noise.sigma=0")
    training, evaluation = seen
    assert "model.safetensors" in training
    assert {"matches-bbox.npz", "matches-segm.npz", "resamples.npz"} <= evaluation


LONG_MEMORY_ERRORS = {
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79 GiB": "CUDA out of memory.",
    "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 "
    "bytes. Error code 12 (Cannot allocate memory)\nframe #0: c10::\nframe #1: c10::": "DefaultCPUAllocator: can't "
    "allocate memory: you tried to allocate 4 bytes.",
}


@pytest.mark.parametrize("text", LONG_MEMORY_ERRORS)
def test_of_torchs_account_of_the_memory_one_sentence_is_kept(tmp_path, text):
    failure = failure_from(RuntimeError(text), tmp_path / "log.txt")
    assert (failure.kind, failure.message) == ("out-of-memory", f"RuntimeError: {LONG_MEMORY_ERRORS[text]}")
    assert failure_from(ValueError("one\ntwo"), tmp_path / "log.txt").message == "ValueError: one"


def test_torn_results_are_set_aside_and_evaluated_again_from_the_weights(run, sweep):
    first = run("noise.sigma=0")
    paths, training = sweep.run(first.run_id), sweep.training(first.training_id)
    matches, *_ = sorted(paths.folder.glob("matches-*.npz"))
    trained, record = training.record.read_bytes(), paths.record.read_bytes()
    matches.write_bytes(b"")
    paths.resamples.write_bytes(paths.resamples.read_bytes()[:-100])
    again = run("noise.sigma=0")
    assert again.metrics == first.metrics
    assert all(np.load(path).files for path in (matches, paths.resamples))
    assert all(path.with_suffix(".torn").exists() for path in (matches, paths.resamples))
    assert paths.record.with_suffix(".torn").read_bytes() == record
    assert training.record.read_bytes() == trained
    assert run("noise.sigma=0") == again


def test_results_are_left_as_they_are_where_nothing_can_be_evaluated_again(run, sweep):
    first = run("noise.sigma=0")
    paths, training = sweep.run(first.run_id), sweep.training(first.training_id)
    training.weights.unlink()
    paths.resamples.write_bytes(b"torn")
    assert run("noise.sigma=0") == first
    assert paths.resamples.read_bytes() == b"torn"


def test_failures_have_kinds(tmp_path):
    log = tmp_path / "log.txt"
    assert failure_from(torch.cuda.OutOfMemoryError("CUDA out of memory"), log).kind == "out-of-memory"
    assert failure_from(MemoryError(), log).kind == "out-of-memory"
    assert failure_from(KeyError("x"), log).message == "KeyError: 'x'"


def test_a_model_that_predicts_nothing_scores_zero_and_is_flagged(run, sweep):
    record = run("noise.sigma=0", "+model.overrides.MODEL.ROI_HEADS.SCORE_THRESH_TEST=0.99999")
    assert record.metrics["segm/AP"] == 0.0
    assert record.flags == ("no detections: every AP is 0",)


def _of_folder(compose, micro, folder, tmp_path, *more):
    model = [override for override in micro if not override.startswith("dataset.")]
    data = [f"dataset.{split}_json={folder}/{split}.json" for split in ("train", "test")]
    data += [f"dataset.{split}_images={folder}/images" for split in ("train", "test")]
    return compose(*model, "dataset=coco_json", *data, f"sweep.root={tmp_path}/sweeps", "noise.sigma=0", *more)


def test_boxes_alone_are_enough(compose, micro, coco_folder, tmp_path):
    def without_masks(data):
        for annotation in data["annotations"]:
            for key in ("segmentation", "area", "iscrowd"):
                del annotation[key]

    folder = coco_folder(edit=without_masks)
    record = execute(_of_folder(compose, micro, folder, tmp_path))
    assert "bbox/AP" in record.metrics
    assert not any(name.startswith("segm") for name in record.metrics)


@pytest.mark.parametrize("segmentation", [None, []], ids=["missing", "empty"])
def test_crowds_without_a_mask_stop_neither_training_nor_the_scores_of_masks(
    compose, micro, coco_folder, tmp_path, segmentation
):
    def edit(data):
        crowd = data["annotations"][0]
        crowd.update(iscrowd=1, segmentation=segmentation)
        if segmentation is None:
            del crowd["segmentation"]

    record = execute(_of_folder(compose, micro, coco_folder(edit=edit), tmp_path))
    assert record.status is Status.COMPLETED
    assert {"bbox/AP", "segm/AP"} <= set(record.metrics)


def test_masks_of_some_objects_only_leave_the_boxes(compose, micro, coco_folder, tmp_path):
    folder = coco_folder(edit=lambda data: data["annotations"][1].pop("segmentation"))
    record = execute(_of_folder(compose, micro, folder, tmp_path))
    assert "bbox/AP" in record.metrics
    assert not any(name.startswith("segm") for name in record.metrics)


def test_metrics_are_json_without_nan(run, sweep):
    record = run("noise.sigma=0")
    json.loads(sweep.run(record.run_id).record.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("held", ["run", "training"])
def test_what_another_process_works_on_is_left_to_it(run, sweep, held):
    done = run("noise.sigma=0")
    paths = sweep.run(done.run_id), sweep.training(done.training_id)
    for path in paths:
        path.record.unlink()
    lock = paths[held == "training"].lock
    with FileLock(lock), pytest.raises(Busy, match="Another process works on"):
        run("noise.sigma=0")
    assert not any(path.record.exists() for path in paths)
    assert run("noise.sigma=0").metrics == done.metrics
