"""The name of every file in a sweep folder.

Layout::

    sweep.json                  every command that was given to this sweep, with time and version
    cells.jsonl                 one line per cell ever asked for: its config and the run that answers
    trainings/<training id>/    training.json, config.yaml, metrics.jsonl, checkpoint, TensorBoard events, log
    runs/<run id>/              record.json, config.yaml, matches, resamples, pictures, TensorBoard events, log
    layout/                     TensorBoard's table of hyperparameters and its charts
    report/                     what `python -m ablation.report` makes
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _OneFolder:
    folder: Path

    @property
    def config(self) -> Path:
        """config.yaml, the resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def log(self) -> Path:
        """log.txt of the process that works here (of the training's, where it evaluates too)."""
        return self.folder / "log.txt"

    @property
    def lock(self) -> Path:
        """Held while a process works here."""
        return self.folder / ".lock"


@dataclass(frozen=True)
class TrainingPaths(_OneFolder):
    """Every file name below trainings/<training id>/."""

    @property
    def record(self) -> Path:
        """training.json."""
        return self.folder / "training.json"

    @property
    def metrics(self) -> Path:
        """metrics.jsonl: one JSON object per logged iteration, detectron2's names."""
        return self.folder / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        """model.safetensors: the final weights."""
        return self.folder / "model.safetensors"

    @property
    def best(self) -> Path:
        """best.safetensors: the weights with the least validation loss, where that was asked for."""
        return self.folder / "best.safetensors"

    def kept(self, iteration: int) -> Path:
        """checkpoints/model-<iteration>.safetensors: weights on the way, where they are to be kept."""
        return self.folder / "checkpoints" / f"model-{iteration:07d}.safetensors"

    def all_kept(self) -> list[Path]:
        """The weights on the way that are there, oldest first."""
        return sorted(self.kept(0).parent.glob("model-*.safetensors"))

    @property
    def checkpoint(self) -> Path:
        """checkpoint.pth: everything needed to go on bit-identically."""
        return self.folder / "checkpoint.pth"


@dataclass(frozen=True)
class RunPaths(_OneFolder):
    """Every file name below runs/<run id>/."""

    @property
    def record(self) -> Path:
        """record.json."""
        return self.folder / "record.json"

    @property
    def resamples(self) -> Path:
        """resamples.npz: AP on bootstrap resamples of the test images, for the intervals."""
        return self.folder / "resamples.npz"

    def matches(self, task: str) -> Path:
        """matches-<task>.npz: which detections were right, by image, to count AP again over other images."""
        return self.folder / f"matches-{task}.npz"

    @property
    def pictures(self) -> Path:
        """pictures/<image id>.png: ground truth beside detections, of a few test images."""
        return self.folder / "pictures"


@dataclass(frozen=True)
class SweepPaths:
    """Every file name of a sweep folder."""

    folder: Path

    @property
    def sweep(self) -> Path:
        """sweep.json: the commands given."""
        return self.folder / "sweep.json"

    @property
    def cells(self) -> Path:
        """cells.jsonl: all cells ever asked for."""
        return self.folder / "cells.jsonl"

    @property
    def lock(self) -> Path:
        """Held while the sweep's own files are rewritten."""
        return self.folder / ".lock"

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.folder / "report"

    @property
    def layout(self) -> Path:
        """The folder of what TensorBoard must know of the sweep as a whole."""
        return self.folder / "layout"

    def training(self, training_id: str) -> TrainingPaths:
        """The files of one training."""
        return TrainingPaths(self.folder / "trainings" / training_id)

    def run(self, run_id: str) -> RunPaths:
        """The files of one run."""
        return RunPaths(self.folder / "runs" / run_id)
