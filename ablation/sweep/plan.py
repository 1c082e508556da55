"""From the cells of a grid to the work that is left: distinct runs, distinct trainings, done and to do."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ablation.config.base import NAME_LENGTH
from ablation.config.keys import flatten
from ablation.config.schemas import RunConfig, validate_config
from ablation.data.survey import Survey, survey
from ablation.evaluation.corruptions import check_corruptions
from ablation.records.cells import Cell
from ablation.records.errors import AblationError, ConfigError
from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.records.storage import try_read_record
from ablation.sweep.identity import identify


@dataclass(frozen=True)
class RequestedCell:
    """One cell as the command asked for it.

    overrides: Hydra overrides that compose it; factors: the swept keys and values as typed;
    composed: the composed configuration as nested plain mappings; choices: the option of each group.
    """

    overrides: tuple[str, ...]
    factors: Mapping[str, Any]
    composed: Mapping[str, Any]
    choices: Mapping[str, str]


@dataclass(frozen=True)
class PlannedCell:
    """A valid cell: its configuration, its ids and the overrides that compose it."""

    config: RunConfig
    cell: Cell
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class InvalidCell:
    """A cell that cannot run, with the reason."""

    factors: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a command asks of a sweep folder, against what is done there already; surveys: by data set's name."""

    paths: SweepPaths
    cells: Sequence[PlannedCell]
    invalid: Sequence[InvalidCell]
    surveys: Mapping[str, Survey] = field(default_factory=dict)

    @cached_property
    def runs(self) -> dict[str, PlannedCell]:
        """The distinct runs by id, each with the first cell that asked for it."""
        return {p.cell.run_id: p for p in reversed(self.cells)}

    @cached_property
    def to_do(self) -> list[PlannedCell]:
        """The distinct runs that are not completed, in the order asked."""
        done = self.completed_runs
        order = {p.cell.run_id: None for p in self.cells}
        return [self.runs[run_id] for run_id in order if run_id not in done]

    @cached_property
    def completed_runs(self) -> frozenset[str]:
        """Ids of the runs whose record is complete."""
        return frozenset(r for r in self.runs if is_completed(self.paths.run(r).record, RunRecord))

    @cached_property
    def completed_trainings(self) -> frozenset[str]:
        """Ids of the asked-for trainings whose record is complete and whose weights are there."""
        folders = {training_id: self.paths.training(training_id) for training_id in self.trainings}
        done = (t for t, folder in folders.items() if is_completed(folder.record, TrainingRecord))
        return frozenset(t for t in done if folders[t].weights.exists())

    @property
    def trainings(self) -> frozenset[str]:
        """Ids of the distinct trainings that the runs need."""
        return frozenset(p.cell.training_id for p in self.cells)

    @property
    def waves(self) -> tuple[list[PlannedCell], list[PlannedCell]]:
        """The work in two parts: one run for each training still to do, then the runs that share a training.

        Within a part no two runs need the same training, so no worker waits for another one's.
        """
        first: dict[str, PlannedCell] = {}
        for planned in self.to_do:
            if planned.cell.training_id not in self.completed_trainings:
                first.setdefault(planned.cell.training_id, planned)
        leading = {p.cell.run_id for p in first.values()}
        return list(first.values()), [p for p in self.to_do if p.cell.run_id not in leading]

    def describe(self, workers: int = 1) -> str:
        """The plan in one line: "12 runs, 6 trainings (3 done), 4 done, about 9 min"."""
        parts = [_count(len(self.cells), "run"), _count(len(self.trainings), "training")]
        if shared := len(self.cells) - len(self.runs):
            parts[0] += f" ({shared} sharing another one's result)"
        if self.to_do and self.completed_trainings:
            parts[1] += f" ({len(self.completed_trainings)} done)"
        if self.completed_runs:
            parts.append(f"{len(self.completed_runs)} done")
        if self.invalid:
            parts.append(f"{len(self.invalid)} invalid")
        parts.append(self._estimate(workers) if self.to_do else "nothing to do")
        return ", ".join(parts)

    def _other_trainings(self) -> list[str]:
        """Trainings of earlier commands, which tell how long one takes here."""
        return [record.parent.name for record in self.paths.folder.glob("trainings/*/training.json")]

    def _estimate(self, workers: int) -> str:
        folders = [self.paths.training(name) for name in self.completed_trainings or self._other_trainings()]
        trained = {f.folder.name: r for f in folders if (r := try_read_record(f.record, TrainingRecord))}
        runs = (try_read_record(self.paths.run(run_id).record, RunRecord) for run_id in self.completed_runs)
        trainings = [r.seconds for r in trained.values() if r.seconds and r.status is Status.COMPLETED]
        evaluations = [_evaluation_seconds(run, trained.get(run.training_id)) for run in runs if run]
        left = len(self.trainings) - len(self.completed_trainings)
        if (left and not trainings) or not (trainings or evaluations):
            return "time unknown until one training is done"
        seconds = statistics.median(trainings) * left if left else 0.0
        if evaluations:
            seconds += statistics.median(evaluations) * len(self.to_do)
        return f"about {max(1, round(seconds / workers / 60))} min"


def _evaluation_seconds(run: RunRecord, training: TrainingRecord | None) -> float:
    trained = training.finished if training is not None and training.finished else 0.0
    return (run.finished or 0.0) - max(run.started or 0.0, trained)


def plan(asked: Iterable[RequestedCell]) -> Plan:
    """Validate and identify every cell, and look up what is done.

    Raises:
        AblationError: no cell is valid; the message holds the first reasons.
    """
    cells: list[PlannedCell] = []
    invalid: list[InvalidCell] = []
    surveys: dict[str, Survey] = {}
    for one in asked:
        try:
            cells.append(_planned(one, surveys))
        except AblationError as error:
            invalid.append(InvalidCell(one.factors, str(error)))
    if not cells:
        raise AblationError(first_reasons(invalid) or "The command asks for no run: a sweep among its values is empty.")
    return Plan(SweepPaths(_folder(cells)), cells, invalid, surveys)


def first_reasons(invalid: Sequence[InvalidCell], most: int = 3) -> str:
    """Why cells cannot run: each reason once, the first few of them."""
    reasons = list(dict.fromkeys(line for cell in invalid for line in cell.reason.splitlines()))
    more = [f"... and {len(reasons) - most + 1} more."] if len(reasons) > most else []
    return "\n".join(reasons[: most - 1] + more if more else reasons)


def _planned(asked: RequestedCell, surveys: dict[str, Survey]) -> PlannedCell:
    config = validate_config(asked.composed)
    found = survey(config.dataset)
    check_corruptions(config)
    ids = identify(config)
    if found is not None:
        surveys[config.dataset.name] = found
    noise = config.noise.built
    flat = flatten({k: v for k, v in asked.composed.items() if k != "sweep"})
    # The chosen options stand beside the keys, so that a swept group (noise=gaussian,uniform) is a factor too.
    settings = {**asked.choices, **flat, "dataset.content": ids.data, "model.content": ids.model}
    cell = Cell(ids.run_id, ids.training_id, asked.factors, settings, 0.0 if noise is None else noise.sigma)
    return PlannedCell(config, cell, asked.overrides)


def _folder(cells: Sequence[PlannedCell]) -> Path:
    # A command that sweeps the model or the data set is still one sweep, in one folder.
    name = "+".join(dict.fromkeys(p.config.sweep_name for p in cells))
    if len(name) > NAME_LENGTH:
        raise ConfigError(
            f"sweep.name must be at most {NAME_LENGTH} characters long, and {name} is what the models and data sets "
            "of this command make of it. Give sweep.name=..."
        )
    return Path(cells[0].config.sweep.root) / name


def is_completed(path: Path, kind: type[RunRecord] | type[TrainingRecord]) -> bool:
    """Whether there is a record of that kind at the path, whole and of a completed stage."""
    record = try_read_record(path, kind)
    return record is not None and record.status is Status.COMPLETED


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
