"""The name of every file in a sweep folder.

Layout::

    sweep.json                  every command of this sweep, with time and version
    cells.jsonl                 one line per requested cell: its configuration and the id of its run
    trainings/<training id>/    training.json, config.yaml, metrics.jsonl, checkpoint, TensorBoard events, log
    runs/<run id>/              record.json, config.yaml, matches, resamples, pictures, TensorBoard events, log
    layout/                     TensorBoard's table of hyperparameters and its charts
    report/                     output of `python -m ablation.report`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class _Entry:
    """A file or folder of this name inside `folder` of the object that it is read from."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, paths: _Folder, _owner: type[_Folder]) -> Path:
        return paths.folder / self._name


@dataclass(frozen=True)
class _Folder:
    folder: Path


class _StageFolder(_Folder):
    config = _Entry("config.yaml")  # the resolved configuration
    log = _Entry("log.txt")  # of the process that works here; of the training's process, where it evaluates too
    lock = _Entry(".lock")  # held while a process works here


class TrainingPaths(_StageFolder):
    """Every file name below trainings/<training id>/."""

    record = _Entry("training.json")
    metrics = _Entry("metrics.jsonl")  # one JSON object per logged iteration, with detectron2's names
    weights = _Entry("model.safetensors")  # the final weights
    best = _Entry("best.safetensors")  # those with the lowest validation loss, if evaluation.loss_period is set
    checkpoint = _Entry("checkpoint.pth")  # everything needed to resume bit for bit

    def intermediate_weights(self, iteration: int) -> Path:
        """Return checkpoints/model-<iteration>.safetensors, written if sweep.keep_checkpoints is set."""
        return self.folder / "checkpoints" / f"model-{iteration:07d}.safetensors"

    def all_intermediate_weights(self) -> list[Path]:
        """List the intermediate weights on disk, oldest first."""
        return sorted(self.folder.glob("checkpoints/model-*.safetensors"))


class RunPaths(_StageFolder):
    """Every file name below runs/<run id>/."""

    record = _Entry("record.json")
    resamples = _Entry("resamples.npz")  # AP on bootstrap resamples of the test images, for the intervals
    pictures = _Entry("pictures")  # <image id>.png: ground truth beside detections, of a few test images

    def matches(self, task: str) -> Path:
        """Return matches-<task>.npz: which detections were right in each image, to score subsets of the images."""
        return self.folder / f"matches-{task}.npz"


class SweepPaths(_Folder):
    """Every file name of a sweep folder."""

    sweep = _Entry("sweep.json")  # the commands of the sweep
    cells = _Entry("cells.jsonl")  # all cells that were ever requested
    lock = _Entry(".lock")  # held while the sweep's own files are rewritten
    report = _Entry("report")
    layout = _Entry("layout")  # what TensorBoard must know of the sweep as a whole

    def training(self, training_id: str) -> TrainingPaths:
        """Return the file names of one training."""
        return TrainingPaths(self.folder / "trainings" / training_id)

    def run(self, run_id: str) -> RunPaths:
        """Return the file names of one run."""
        return RunPaths(self.folder / "runs" / run_id)
