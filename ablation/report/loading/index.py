"""All records of a sweep, each file read once, and what they say of each run: its state, and why there is no result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from ablation.records.cells import Cell
from ablation.records.errors import RecordError
from ablation.records.failure import Failure
from ablation.records.paths import RunPaths, SweepPaths, TrainingPaths
from ablation.records.schema import Record, RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record


@dataclass(frozen=True)
class Problem:
    """Why a run has no result, or what a reader of its result must know.

    status: the run's; reason: one or two sentences; advice: what to do; log: a path, empty when there is none.
    """

    sweep: str
    run_id: str
    status: str
    reason: str
    advice: str = ""
    log: str = ""


def sweep_names(folders: Sequence[Path]) -> list[str]:
    """A distinct name for each folder: its own, or its whole path where two are called the same."""
    own = [folder.resolve().name for folder in folders]
    return [n if own.count(n) == 1 else str(f) for n, f in zip(own, folders, strict=True)]


class RecordIndex:
    """All records of the asked-for cells, each file read once; a corrupt one becomes a failure."""

    def __init__(self, paths: SweepPaths, cells: Sequence[Cell]) -> None:
        self._paths = paths
        run_ids = dict.fromkeys((c.run_id, c.training_id) for c in cells)
        self._runs = {r: _read(paths.run(r).record, RunRecord) for r, _ in run_ids}
        self.trainings = {c.training_id: _read(paths.training(c.training_id).record, TrainingRecord) for c in cells}
        self._answers = {r: self._answer(r, t) for r, t in run_ids}

    @property
    def completed(self) -> list[RunRecord]:
        """The records of the runs that have a result."""
        return [r for r in self._runs.values() if isinstance(r, RunRecord) and r.status is Status.COMPLETED]

    @property
    def records(self) -> list[Record]:
        """Every record that could be read, trainings first."""
        return [r for r in (*self.trainings.values(), *self._runs.values()) if isinstance(r, Record)]

    @property
    def environments(self) -> list[Mapping[str, Any]]:
        """What ran each of them."""
        return [r.environment for r in self.records]

    @property
    def failures(self) -> tuple[Problem, ...]:
        """The runs without a result, and why."""
        return tuple(problem for _, problem in self._answers.values() if problem)

    @property
    def remarks(self) -> tuple[Problem, ...]:
        """Notes on results that exist."""
        name = sweep_names([self._paths.folder])[0]
        told = [Problem(name, r.run_id, r.status.value, flag) for r in self.completed for flag in r.flags]
        silent = [
            Problem(
                name, identifier(r), r.status.value, f"The noise changed nothing at {level} whenever it was measured."
            )
            for r in self.records
            for level, t in r.telemetry.items()
            if t.calls and t.noise_rms == 0
        ]
        return tuple(told + silent)

    def status(self, run_id: str) -> str:
        """Where a run stands, by the name of a `Status`."""
        return self._answers[run_id][0]

    def metrics(self, run_id: str) -> Mapping[str, float | None]:
        """The metrics of a run, in percent; none without a result."""
        run = self._runs[run_id]
        return run.metrics if isinstance(run, RunRecord) else {}

    def _answer(self, run_id: str, training_id: str) -> tuple[str, Problem | None]:
        files: RunPaths | TrainingPaths = self._paths.run(run_id)
        record: RunRecord | TrainingRecord | RecordError | None = self._runs[run_id]
        if record is None:  # the run was not reached; its training may tell why
            files, record = self._paths.training(training_id), self.trainings[training_id]
            if isinstance(record, TrainingRecord) and record.status is Status.COMPLETED:
                record = None
        if record is None:
            return Status.PLANNED.value, None
        if isinstance(record, RecordError):
            again = "Repeat the command of the sweep; this run is done anew."
            failure = Failure("corrupt", str(record), again, str(files.log) if files.log.exists() else "")
            return Status.FAILED.value, self._problem(run_id, Status.FAILED, failure)
        if record.status is Status.RUNNING and not _is_held(files.lock):
            again = "Repeat the command of the sweep; it goes on from the last checkpoint."
            failure = Failure("interrupted", "Its process is gone.", again, str(files.log))
            return Status.INTERRUPTED.value, self._problem(run_id, Status.INTERRUPTED, failure)
        if record.error is not None:
            return record.status.value, self._problem(run_id, record.status, record.error)
        return record.status.value, None

    def _problem(self, run_id: str, status: Status, failure: Failure) -> Problem:
        folder = self._paths.folder
        log = below(failure.log, folder)
        reason = failure.message.replace(f"{folder}/", "")  # the same sweep moved elsewhere: the same report
        return Problem(sweep_names([folder])[0], run_id, status.value, reason, failure.advice, log)


_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def _read(path: Path, kind: type[_AnyRecord]) -> _AnyRecord | RecordError | None:
    try:
        return read_record(path, kind)
    except RecordError as error:
        return error


def _is_held(lock: Path) -> bool:
    """Whether a living process holds the lock; a lock that cannot be asked about counts as held."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def below(log: str, folder: Path) -> str:
    """A path from the folder on, where it lies below that."""
    path = Path(log)
    for base in (folder, folder.resolve()):
        if log and path.is_relative_to(base):
            return str(path.relative_to(base))
    return log


def identifier(record: Record) -> str:
    """The run's or the training's id."""
    return str(getattr(record, "run_id", "") or getattr(record, "training_id", ""))
