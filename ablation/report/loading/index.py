"""Index of a sweep's records, each file read once: the state of each run, and why it has no result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from ablation.records.cells import Cell
from ablation.records.errors import RecordError
from ablation.records.failure import Failure
from ablation.records.paths import RunPaths, SweepPaths, TrainingPaths
from ablation.records.schema import Record, RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record


@dataclass(frozen=True)
class Problem:
    """Reason why a run has no result, or a remark on its result.

    Attributes:
        sweep: Name of the sweep.
        run_id: The run; of a remark possibly a training.
        status: Of the run.
        reason: One or two sentences.
        advice: What to do.
        log: Path from the sweep's folder on; empty if there is none.
    """

    sweep: str
    run_id: str
    status: str
    reason: str
    advice: str = ""
    log: str = ""


def sweep_names(folders: Sequence[Path]) -> list[str]:
    """Return a distinct name for each folder: its own, or its whole path if two have the same name."""
    own = [folder.resolve().name for folder in folders]
    return [n if own.count(n) == 1 else str(f) for n, f in zip(own, folders, strict=True)]


class RecordIndex:
    """Records of all cells of a sweep; a corrupt one counts as a failure."""

    def __init__(self, paths: SweepPaths, cells: Sequence[Cell]) -> None:
        self._paths = paths
        self.name = paths.folder.resolve().name
        self._trainings = {c.run_id: c.training_id for c in cells}
        self._runs = {r: _read(paths.run(r).record, RunRecord) for r in self._trainings}
        self.trainings = {c.training_id: _read(paths.training(c.training_id).record, TrainingRecord) for c in cells}
        self._states = {run_id: self._state(run_id, training_id) for run_id, training_id in self._trainings.items()}

    @property
    def completed(self) -> list[RunRecord]:
        """Records of the runs that have a result."""
        return [r for r in self._runs.values() if isinstance(r, RunRecord) and r.status is Status.COMPLETED]

    @property
    def records(self) -> list[Record]:
        """All records that could be read, trainings first."""
        return [r for r in (*self.trainings.values(), *self._runs.values()) if isinstance(r, Record)]

    @property
    def failures(self) -> tuple[Problem, ...]:
        """Runs without a result, except those whose training diverged."""
        return tuple(p for p in self._problems if p.status != Status.DIVERGED.value)

    @property
    def diverged(self) -> tuple[Problem, ...]:
        """Runs whose training diverged."""
        return tuple(p for p in self._problems if p.status == Status.DIVERGED.value)

    @property
    def _problems(self) -> tuple[Problem, ...]:
        folder = self._paths.folder
        return tuple(
            Problem(
                self.name,
                run_id,
                status.value,
                failure.message.replace(f"{folder}/", ""),  # a sweep that was moved gives the same report
                failure.advice,
                _find_log(failure.log, folder),
            )
            for run_id, (status, failure) in self._states.items()
            if failure
        )

    @property
    def remarks(self) -> tuple[Problem, ...]:
        """Notes on results that exist."""
        flagged = [(r, flag) for r in self.completed for flag in r.flags]
        silent = [
            (r, f"The noise changed nothing at {level} whenever it was measured.")
            for r in self.records
            for level, t in r.telemetry.items()
            if t.calls and t.noise_rms == 0
        ]
        remarks = [Problem(self.name, identifier(r), r.status.value, reason) for r, reason in flagged + silent]
        done = {run_id for run_id, (status, _) in self._states.items() if status is Status.COMPLETED}
        unread = {t: self.trainings[t] for run_id, t in self._trainings.items() if run_id in done}
        lost = "What it says of the training, its noise and its cost is missing."
        for training_id, record in unread.items():
            if isinstance(record, RecordError):
                remarks.append(self.damage(training_id, f"{str(record).rstrip('.')}. {lost}"))
        return tuple(remarks)

    def damage(self, name: str, reason: str) -> Problem:
        """Return the remark that a file could not be read, with its path from the sweep's folder on."""
        return Problem(self.name, name, "", reason.replace(f"{self._paths.folder}/", ""))

    def status(self, run_id: str) -> str:
        """Return the state of a run, as the value of a `Status`."""
        return self._states[run_id][0].value

    def metrics(self, run_id: str) -> Mapping[str, float | None]:
        """Return the metrics of a run, in percent; none without a result."""
        run = self._runs[run_id]
        return run.metrics if isinstance(run, RunRecord) else {}

    def _state(self, run_id: str, training_id: str) -> tuple[Status, Failure | None]:
        files: RunPaths | TrainingPaths = self._paths.run(run_id)
        record: RunRecord | TrainingRecord | RecordError | None = self._runs[run_id]
        if record is None:  # the run was not reached; the record of its training may say why
            files, record = self._paths.training(training_id), self.trainings[training_id]
            if isinstance(record, TrainingRecord) and record.status is Status.COMPLETED:
                record = None
        if record is None:
            return Status.PLANNED, None
        if isinstance(record, RecordError):
            advice = "Repeat the command of the sweep; it repeats this run."
            log = str(files.log) if files.log.exists() else ""
            return Status.FAILED, Failure("corrupt", str(record), advice, log)
        if record.status is Status.RUNNING and not _is_held(files.lock):
            advice = "Repeat the command of the sweep; it resumes from the last checkpoint."
            return Status.INTERRUPTED, Failure("interrupted", "Its process is gone.", advice, str(files.log))
        return record.status, record.error


_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def _read(path: Path, kind: type[_AnyRecord]) -> _AnyRecord | RecordError | None:
    try:
        return read_record(path, kind)
    except RecordError as error:
        return error


def _is_held(lock: Path) -> bool:
    """Return True if a living process holds the lock, or if that cannot be found out."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _find_log(log: str, folder: Path) -> str:
    """Return the path of a log from the sweep's folder on, as it is if it lies elsewhere; empty if there is none."""
    path = Path(log)
    here = Path(*path.parts[-3:])  # runs/<id>/log.txt: also of a sweep that was moved
    if log and (folder / here).is_file():
        return str(here)
    return log if log and path.is_file() else ""


def identifier(record: Record) -> str:
    """Return the id of a run or a training."""
    return str(getattr(record, "run_id", "") or getattr(record, "training_id", ""))
