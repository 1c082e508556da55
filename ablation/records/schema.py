"""The records of trainings and runs: sweeps write them, reports read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ablation.records.errors import RecordError
from ablation.records.failure import UNFINISHED, Failure

SCHEMA_VERSION = 1


class Status(str, Enum):
    """State of a training or a run."""

    PLANNED = "planned"
    RUNNING = "running"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """True if repeating the command leaves it as it is: a training that diverged would diverge again."""
        return self in (Status.COMPLETED, Status.DIVERGED)

    @classmethod
    def after(cls, failure: Failure) -> Status:
        """Return the state of a stage that ended for this reason."""
        if failure.kind in UNFINISHED:
            return cls.INTERRUPTED
        return cls.DIVERGED if failure.kind == "diverged" else cls.FAILED


@dataclass(frozen=True)
class LevelTelemetry:
    """Effect of the noise on one level, measured while it was applied.

    Attributes:
        calls: number of times that the noise was applied (per image in evaluation, per batch in training).
        signal_rms: root mean square of the features over the measured calls, in feature units, padding excluded.
        noise_rms: root mean square of the noise over the same calls, in the same units.
    """

    calls: int
    signal_rms: float
    noise_rms: float

    @property
    def sigma(self) -> float | None:
        """Measured noise-to-signal ratio; None if there was no signal."""
        return self.noise_rms / self.signal_rms if self.signal_rms > 0 else None

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio in dB, -20 log10 sigma; None if the signal or the noise is zero."""
        return -20.0 * math.log10(self.sigma) if self.sigma else None


@dataclass(frozen=True)
class Record:
    """Fields that trainings and runs have in common.

    Attributes:
        status: state when the record was written.
        seed: seed of the training.
        error: why there is no result; a failed or diverged record has one, a completed record has none.
        started: start of the last attempt, in seconds since the epoch.
        finished: end of the last attempt, in seconds since the epoch.
        seconds: duration; of a training summed over all resumptions.
        peak_memory: in MiB, of the GPU if there is one, else of the process; None if it was not measured.
        telemetry: effect of the noise by level.
        environment: versions, device, threads, host and process id.
    """

    status: Status
    seed: int
    error: Failure | None = None
    started: float | None = None
    finished: float | None = None
    seconds: float | None = None
    peak_memory: float | None = None
    telemetry: Mapping[str, LevelTelemetry] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.status in (Status.FAILED, Status.DIVERGED) and self.error is None:
            raise RecordError(f"A {self.status.value} record needs an error.")
        if self.status is Status.COMPLETED and self.error is not None:
            raise RecordError("A completed record cannot hold an error.")


@dataclass(frozen=True)
class WeightsReport:
    """How the pretrained weights fitted the model.

    Attributes:
        path: the file as configured.
        loaded: number of parameters and buffers of the model that were filled.
        missing: names in the model that the file lacks.
        wrong_shape: names that have another shape in the file.
        unexpected: names in the file that the model lacks.
    """

    path: str
    loaded: int
    missing: Sequence[str] = ()
    wrong_shape: Sequence[str] = ()
    unexpected: Sequence[str] = ()

    def __str__(self) -> str:
        rest = {"missing": self.missing, "of another shape": self.wrong_shape, "not of this model": self.unexpected}
        problems = [
            f"{len(names)} {problem} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
            for problem, names in rest.items()
            if names
        ]
        return ", ".join([f"{self.loaded} parameters and buffers from {self.path}", *problems])


@dataclass(frozen=True)
class TrainingRecord(Record):
    """One training, which several runs may share.

    Attributes:
        training_id: its id.
        iterations: number of completed iterations.
        losses: smoothed training losses at the end, by detectron2's names.
        weights: how the pretrained weights fitted; None if it started from random weights.
    """

    training_id: str = ""
    iterations: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    weights: WeightsReport | None = None


@dataclass(frozen=True)
class GridScore:
    """Metrics of a trained model under one noise of evaluation.noise_grid.

    Attributes:
        type: noise type.
        sigma: noise-to-signal ratio.
        levels: levels with noise, or "all".
        draw: number of the repetition with other noise, from 0.
        metrics: detectron2's names to percent.
        telemetry: effect of the noise by level.
    """

    type: str
    sigma: float
    levels: str | Sequence[str]
    draw: int
    metrics: Mapping[str, float | None]
    telemetry: Mapping[str, LevelTelemetry] = field(default_factory=dict)


@dataclass(frozen=True)
class CorruptionScore:
    """Metrics of a trained model on corrupted test images.

    Attributes:
        corruption: name of the corruption.
        severity: 1 to 5.
        metrics: detectron2's names to percent.
    """

    corruption: str
    severity: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class RunRecord(Record):
    """One run: a trained model and its evaluation.

    Attributes:
        run_id: its id.
        training_id: the id of its training.
        metrics: detectron2's names (bbox/AP, segm/AP50) to percent; None if undefined (no ground truth of that size).
        flags: remarks that a reader of the metrics must know.
        grid: scores under each noise of evaluation.noise_grid; mPFN and rPFN among the metrics summarise it.
        corruptions: scores under each corruption of evaluation.corruptions; mPC and rPC summarise it.
        error_shift: by task, TIDE's kinds of error (Cls, Loc, Both, Dupe, Bkg, Miss, FalsePos, FalseNeg) to points of
            AP50; None if no class is left to score.
        evaluation_seconds: duration of the evaluation.
    """

    run_id: str = ""
    training_id: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    flags: Sequence[str] = ()
    grid: Sequence[GridScore] = ()
    corruptions: Sequence[CorruptionScore] = ()
    error_shift: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    evaluation_seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.status is Status.COMPLETED) != bool(self.metrics):
            raise RecordError(f"Run {self.run_id}: metrics belong to completed runs, and to these only.")
