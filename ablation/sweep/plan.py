"""Plan a sweep: the distinct runs and trainings that its cells need, and which of them are done."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ablation.config.schemas import RunConfig
from ablation.data.survey import Survey
from ablation.records.cells import Cell
from ablation.records.paths import SweepPaths, TrainingPaths
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.records.storage import read_status, try_read_record
from ablation.sweep.results import find_damaged_results, is_trained


@dataclass(frozen=True)
class RequestedCell:
    """One cell of the grid that a command spans.

    Attributes:
        overrides: Hydra overrides that compose the cell.
        factors: swept keys and their values, as typed.
        composed: the configuration as nested plain mappings.
        choices: the chosen option of each configuration group.
    """

    overrides: tuple[str, ...]
    factors: Mapping[str, Any]
    composed: Mapping[str, Any]
    choices: Mapping[str, str]


@dataclass(frozen=True)
class PlannedCell:
    """A valid cell.

    Attributes:
        config: its validated configuration.
        cell: its ids, factors and settings, as cells.jsonl holds them.
        overrides: Hydra overrides that compose it.
        train_images: number of images to train on.
    """

    config: RunConfig
    cell: Cell
    overrides: tuple[str, ...]
    train_images: int


@dataclass(frozen=True)
class InvalidCell:
    """A cell that cannot run.

    Attributes:
        factors: swept keys and their values, as typed.
        reason: the message for the user.
    """

    factors: Mapping[str, Any]
    reason: str

    def __str__(self) -> str:
        factors = " ".join(f"{key}={value}" for key, value in self.factors.items())
        return f"{factors or 'the only cell'}: {self.reason}"


@dataclass(frozen=True)
class Plan:
    """What a command requests, and what is completed already.

    Attributes:
        paths: the sweep folder.
        cells: the valid cells in the order requested.
        invalid: the cells that cannot run.
        surveys: summaries of the data by the data set's name.
        remarks: what is doubtful about the command; they stop nothing.
    """

    paths: SweepPaths
    cells: Sequence[PlannedCell]
    invalid: Sequence[InvalidCell]
    surveys: Mapping[str, Survey] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    @cached_property
    def runs(self) -> dict[str, PlannedCell]:
        """The distinct runs by id, each with the first cell that requests it, in the order requested."""
        runs: dict[str, PlannedCell] = {}
        for planned in self.cells:
            runs.setdefault(planned.cell.run_id, planned)
        return runs

    @cached_property
    def to_do(self) -> list[PlannedCell]:
        """The distinct runs that are not done, in the order requested."""
        return [planned for run_id, planned in self.runs.items() if run_id not in self.finished_runs]

    @cached_property
    def finished_runs(self) -> Mapping[str, Status]:
        """The runs that are done, by id: completed or diverged; one with damaged results is evaluated again."""
        statuses = {run_id: self._status(planned.cell) for run_id, planned in self.runs.items()}
        return {run_id: status for run_id, status in statuses.items() if status.is_final}

    def _status(self, cell: Cell) -> Status:
        run, training = self.paths.run(cell.run_id), self.paths.training(cell.training_id)
        status = read_status(run.record, RunRecord)
        return Status.PLANNED if status.is_final and find_damaged_results(run, training) else status

    @cached_property
    def finished_trainings(self) -> frozenset[str]:
        """Ids of the trainings that are done: completed, with weights that exist, or diverged."""
        folders = {training_id: self.paths.training(training_id) for training_id in self.trainings}
        return frozenset(
            training_id
            for training_id, folder in folders.items()
            if is_trained(folder) or read_status(folder.record, TrainingRecord) is Status.DIVERGED
        )

    @property
    def without_validation(self) -> list[str]:
        """Ids of completed trainings that logged no validation losses, although cells ask for them."""
        asking = (p for p in self.cells if p.config.evaluation.loss_period and p.config.schedule.iterations != 0)
        folders = {p.cell.training_id: self.paths.training(p.cell.training_id) for p in asking}
        trained = (t for t, folder in folders.items() if t in self.finished_trainings and folder.weights.exists())
        return [t for t in trained if not _has_validation(folders[t])]

    @property
    def trainings(self) -> frozenset[str]:
        """Ids of the distinct trainings that the runs need."""
        return frozenset(p.cell.training_id for p in self.cells)

    @property
    def waves(self) -> tuple[list[PlannedCell], list[PlannedCell]]:
        """The remaining runs: first one run for each missing training, then the runs that share these trainings.

        Within a wave no two runs need the same missing training, so no worker waits for another one.
        """
        first, second = {}, []
        for planned in self.to_do:
            training_id = planned.cell.training_id
            if training_id in self.finished_trainings or training_id in first:
                second.append(planned)
            else:
                first[training_id] = planned
        return list(first.values()), second

    def describe(self, workers: int = 1) -> str:
        """Describe the plan in one line: "12 runs, 6 trainings (3 done), 4 done (1 diverged), about 9 min"."""
        parts = [_count(len(self.cells), "run"), _count(len(self.trainings), "training")]
        if shared := len(self.cells) - len(self.runs):
            parts[0] += f" ({shared} sharing another one's result)"
        if self.to_do and self.finished_trainings:
            parts[1] += f" ({len(self.finished_trainings)} done)"
        if self.finished_runs:
            diverged = list(self.finished_runs.values()).count(Status.DIVERGED)
            parts.append(f"{len(self.finished_runs)} done" + (f" ({diverged} diverged)" if diverged else ""))
        if self.invalid:
            parts.append(f"{len(self.invalid)} invalid")
        parts.append(self._estimate(workers) if self.to_do else "nothing to do")
        return ", ".join(parts)

    def _estimate(self, workers: int) -> str:
        # Without a completed training of this command, those of earlier commands show how long one takes.
        earlier = (record.parent.name for record in self.paths.folder.glob("trainings/*/training.json"))
        folders = [self.paths.training(name) for name in self.finished_trainings or earlier]
        trained = {f.folder.name: r for f in folders if (r := try_read_record(f.record, TrainingRecord))}
        completed = (run_id for run_id, status in self.finished_runs.items() if status is Status.COMPLETED)
        runs = (try_read_record(self.paths.run(run_id).record, RunRecord) for run_id in completed)
        trainings = [r.seconds for r in trained.values() if r.seconds and r.status is Status.COMPLETED]
        evaluations = [_evaluation_seconds(run, trained.get(run.training_id)) for run in runs if run]
        left = len(self.trainings) - len(self.finished_trainings)
        if (left and not trainings) or not (trainings or evaluations):
            return "time unknown until one training is done"
        seconds = statistics.median(trainings) * left if left else 0.0
        if evaluations:
            seconds += statistics.median(evaluations) * len(self.to_do)
        return f"about {max(1, round(seconds / workers / 60))} min"


def _has_validation(training: TrainingPaths) -> bool:
    # The best weights are written with the first validation losses; reading all curves would take long.
    if training.best.exists():
        return True
    return training.metrics.is_file() and b'"validation/' in training.metrics.read_bytes()


def _evaluation_seconds(run: RunRecord, training: TrainingRecord | None) -> float:
    trained = training.finished if training is not None and training.finished else 0.0
    return (run.finished or 0.0) - max(run.started or 0.0, trained)


def first_reasons(invalid: Sequence[InvalidCell], limit: int = 3) -> str:
    """Return the distinct reasons of invalid cells, at most `limit` lines."""
    reasons = list(dict.fromkeys(line for cell in invalid for line in cell.reason.splitlines()))
    if len(reasons) > limit:
        reasons = [*reasons[: limit - 1], f"... and {len(reasons) - limit + 1} more."]
    return "\n".join(reasons)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
