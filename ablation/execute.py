"""Run one configuration: train, evaluate and write the records. A completed stage is skipped."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from filelock import FileLock, Timeout
from torch import nn

from ablation.config.schemas import RunConfig, validate_config
from ablation.data.build import build_dataset
from ablation.data.dataset import Dataset
from ablation.evaluation.corruptions import check_corruptions
from ablation.evaluation.evaluate import evaluate
from ablation.evaluation.pictures import write_pictures
from ablation.models.build import build_detector, configure_torch, load_pretrained, load_trained, resolve_device
from ablation.models.checkpoint_files import find_problem
from ablation.models.detector import Detector
from ablation.models.weights import save_weights
from ablation.records import provenance
from ablation.records.atomic import replacing, write_text
from ablation.records.errors import Busy, Diverged, RecordError, RunError
from ablation.records.failure import failure_from
from ablation.records.paths import RunPaths, SweepPaths, TrainingPaths
from ablation.records.schema import Record, RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record, set_aside, try_read_record, write_record
from ablation.scoring.bootstrap import write_resamples
from ablation.sweep.deciding_code import evaluation_code, training_code
from ablation.sweep.identity import identify
from ablation.sweep.results import find_damaged_results, is_trained
from ablation.training.distributed import train_on_devices
from ablation.training.trainer import Training

logger = logging.getLogger(__name__)

_RESERVED = 1 << 16  # bytes freed on failure, so that a full disk has room for the record of the failure

_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def execute(composed: Mapping[str, Any]) -> RunRecord:
    """Train and evaluate one configuration, and write the records of the training and of the run.

    A training or run that completed or diverged is not repeated. A failure is recorded, then raised.

    Args:
        composed: the configuration as nested plain mappings.

    Returns:
        The record of the completed run.

    Raises:
        Busy: another process works on this run or its training; nothing was done.
        Diverged: the training diverged, now or earlier.
    """
    config = validate_config(composed)
    dataset = build_dataset(config.dataset)
    ids = identify(config, dataset)
    sweep = SweepPaths(Path(config.sweep.root) / config.sweep_name)
    training, run = sweep.training(ids.training_id), sweep.run(ids.run_id)
    configure_torch(config.sweep)
    with _locked(run.lock):
        record = _final(run.record, RunRecord)
        _raise_if_diverged(record)
        damaged = find_damaged_results(run, training) if record is not None else []
        if record is not None and not damaged:
            return record
        if damaged:
            set_aside(run.record, f"{damaged[0].name} is torn")  # first, so that a kill in between loses nothing
        for path in damaged:
            set_aside(path, "it is torn")
        return _run(config, dataset, run, training)


def _run(config: RunConfig, dataset: Dataset, run: RunPaths, training: TrainingPaths) -> RunRecord:
    with contextlib.ExitStack() as while_training:
        has_weights = is_trained(training)
        if not has_weights:
            while_training.enter_context(_locked(training.lock))
            has_weights = is_trained(training)  # another process may have finished it before the lock was free
        start = RunRecord(
            Status.RUNNING,
            config.seed,
            started=time.time(),
            environment=_environment(config, evaluation_code(config)),
            run_id=run.folder.name,
            training_id=training.folder.name,
        )
        _write_config(run.config, config)
        with _recording(run.record, start, run.log):
            _raise_if_diverged(_final(training.record, TrainingRecord))
            check_corruptions(config, dataset)
            dataset.prepare()
            detector = build_detector(config, dataset)
            if has_weights:
                model = load_trained(detector, training.weights)
            else:
                model = _train(config, dataset, detector, training)
            while_training.close()
            _reset_peak_memory()
            began = time.perf_counter()
            result = evaluate(model, config, dataset, detector)
            seconds = time.perf_counter() - began
            write_pictures(result.pictures, run)
            for task, matches in result.matches.items():
                with replacing(run.matches(task)) as temporary:
                    matches.save(temporary)
            with replacing(run.resamples) as temporary:
                write_resamples(temporary, result.matches, config.evaluation.primary_metric)
    done = _finished(
        start,
        Status.COMPLETED,
        metrics=result.metrics,
        flags=result.flags,
        telemetry=result.telemetry,
        grid=result.grid,
        corruptions=result.corruptions,
        error_shift=result.error_shift,
        evaluation_seconds=seconds,
        peak_memory=_peak_memory(config),
    )
    write_record(run.record, done)
    return done


@contextlib.contextmanager
def _locked(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise Busy(f"Another process works on {lock.parent}.") from error


def _train(config: RunConfig, dataset: Dataset, detector: Detector, paths: TrainingPaths) -> nn.Module:
    earlier = try_read_record(paths.record, TrainingRecord) if paths.checkpoint.exists() else None
    start = TrainingRecord(
        Status.RUNNING,
        config.seed,
        started=time.time(),
        seconds=earlier.seconds if earlier is not None else None,
        environment=_environment(config, training_code(config)),
        training_id=paths.folder.name,
    )
    if paths.weights.exists() and (problem := find_problem(paths.weights)):
        set_aside(paths.weights, problem)
    _write_config(paths.config, config)
    detector.save(paths.folder / "detectron2.yaml")
    with _without_checkpoint_if_diverged(paths), _recording(paths.record, start, paths.log):
        _reset_peak_memory()
        if not detector.iterations:
            model, report = load_pretrained(detector, config)
            summary: dict[str, Any] = {"weights": report}
        elif config.schedule.devices > 1:
            summary = train_on_devices(config, paths)
            model = load_trained(detector, paths.weights)
        else:
            training = Training(config, dataset, detector, paths)
            model, summary = training.run(), training.summary()
        save_weights(model, paths.weights)
    peak = _peak_memory(config) if config.schedule.devices == 1 else None  # each rank has its own
    done = _finished(start, Status.COMPLETED, peak_memory=peak, **summary)
    write_record(paths.record, done)
    paths.checkpoint.unlink(missing_ok=True)  # the optimizer's state is not needed any more
    return model


@contextlib.contextmanager
def _without_checkpoint_if_diverged(paths: TrainingPaths) -> Iterator[None]:
    try:
        yield
    except RunError as error:
        if error.kind == Diverged.kind:
            paths.checkpoint.unlink(missing_ok=True)  # nothing resumes from it
        raise


def _reset_peak_memory() -> None:
    # Only a GPU's peak can be reset; a process's is counted from its start.
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory(config: RunConfig) -> float:
    """Return the peak memory in MiB, of the GPU or else of the process."""
    if resolve_device(config.sweep.device) == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes on a Mac, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@contextlib.contextmanager
def _recording(path: Path, start: Record, log: Path) -> Iterator[None]:
    """Write the record of the start, log to a file, and write the record of a failure before it is raised."""
    write_record(path, start)
    reserve = path.with_name(".reserve")
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        reserve.write_bytes(os.urandom(_RESERVED))
        yield
    except Exception as error:
        reserve.unlink(missing_ok=True)
        logger.exception("%s", error)
        failure = failure_from(error, log)
        write_record(path, _finished(start, Status.after(failure), error=failure))
        raise
    finally:
        reserve.unlink(missing_ok=True)
        root.removeHandler(handler)
        handler.close()


def _final(path: Path, kind: type[_AnyRecord]) -> _AnyRecord | None:
    """Return the record of a stage that completed or diverged; None if it is to be done."""
    try:
        record = read_record(path, kind)
    except RecordError as error:
        set_aside(path, error)
        return None
    return record if record is not None and record.status.is_final else None


def _raise_if_diverged(record: Record | None) -> None:
    if record is not None and record.status is Status.DIVERGED and record.error is not None:
        raise Diverged(record.error.message)


def _write_config(path: Path, config: RunConfig) -> None:
    if path.is_dir():
        set_aside(path, "it is a folder")
    write_text(path, yaml.safe_dump(config.model_dump(), sort_keys=False))


def _finished(start: _AnyRecord, status: Status, **changes: Any) -> _AnyRecord:
    now = time.time()
    seconds = (start.seconds or 0.0) + now - (start.started or now)
    return dataclasses.replace(start, status=status, finished=now, seconds=seconds, **changes)


def _environment(config: RunConfig, code: Mapping[str, str]) -> dict[str, Any]:
    is_cuda = resolve_device(config.sweep.device) == "cuda"
    # The instruction set decides how sums are rounded, and so the results of a training on a CPU.
    capability = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    device = torch.cuda.get_device_name() if is_cuda else capability
    process = {"host": socket.gethostname(), "pid": os.getpid()}
    return {**provenance.versions(), "code": code, "device": device, "threads": config.sweep.threads, **process}
