"""The JSON records in which the half that trains and the half that reports meet. Standard library only.

Every file is written whole (`disk`), so a reader sees the old one or the new one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ablation.records.errors import RecordError
from ablation.records.failure import Failure

SCHEMA_VERSION = 1


class Status(str, Enum):
    """Where a training or a run stands."""

    PLANNED = "planned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class LevelTelemetry:
    """What the noise really did to one level, measured while it acted.

    calls: how often the noise was applied (per image in evaluation, per batch in training).
    signal_rms, noise_rms: root mean squares over the measured calls, in feature units, padding excluded.
    """

    calls: int
    signal_rms: float
    noise_rms: float

    @property
    def sigma(self) -> float | None:
        """Realised noise-to-signal ratio; None when there was no signal."""
        return self.noise_rms / self.signal_rms if self.signal_rms > 0 else None

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio in dB, -20 log10 sigma; None when either part is zero."""
        return -20.0 * math.log10(self.sigma) if self.sigma else None


@dataclass(frozen=True)
class Record:
    """What trainings and runs have in common.

    Times are seconds since the epoch (started, finished) or seconds (seconds; of a training over all resumptions).
    peak_memory: MiB, of the device where that is a GPU, else of the process; None where it was not measured.
    A completed record has no error, a failed one has one: checked here, so that no reader need ask.
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
        if self.status is Status.FAILED and self.error is None:
            raise RecordError("A failed record needs an error.")
        if self.status is Status.COMPLETED and self.error is not None:
            raise RecordError("A completed record cannot hold an error.")


@dataclass(frozen=True)
class WeightsReport:
    """What became of the checkpoint that a training started from.

    loaded: parameters and buffers of the model that it filled; missing: those that it does not have; wrong_shape:
    those that it has in another shape; unexpected: what it has and the model does not.
    """

    path: str
    loaded: int
    missing: Sequence[str] = ()
    wrong_shape: Sequence[str] = ()
    unexpected: Sequence[str] = ()

    def __str__(self) -> str:
        rest = {"missing": self.missing, "of another shape": self.wrong_shape, "not of this model": self.unexpected}
        told = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
            for what, names in rest.items()
            if names
        ]
        return ", ".join([f"{self.loaded} parameters and buffers from {self.path}", *told])


@dataclass(frozen=True)
class TrainingRecord(Record):
    """One training: everything that several runs may share.

    iterations: done so far; losses: final smoothed training losses by detectron2's names; weights: where it started.
    """

    training_id: str = ""
    iterations: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    weights: WeightsReport | None = None


@dataclass(frozen=True)
class GridScore:
    """A trained model under one cell of the noise grid: which noise, the metrics, and what the noise did."""

    type: str
    sigma: float
    levels: str | Sequence[str]
    draw: int
    metrics: Mapping[str, float | None]
    telemetry: Mapping[str, LevelTelemetry] = field(default_factory=dict)


@dataclass(frozen=True)
class CorruptionScore:
    """A trained model on corrupted test images: which corruption, its severity (1 to 5), and the metrics."""

    corruption: str
    severity: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class RunRecord(Record):
    """One run: a trained model under one evaluation.

    metrics: detectron2's names (bbox/AP, segm/AP50) to percent; None where the test set cannot say
        (no ground truth of that size). flags: remarks a reader of the metrics must know. grid: under each cell of
        evaluation.noise_grid; mPFN and rPFN among the metrics are its summary. corruptions: on the images under each
        of evaluation.corruptions; mPC and rPC are its summary. error_shift: by task, TIDE's kinds of error (Cls, Loc,
        Both, Dupe, Bkg, Miss, FalsePos, FalseNeg) to points of AP50; None where no class is left to score.
    evaluation_seconds: what the evaluation took.
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
