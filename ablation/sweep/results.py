"""What of a sweep is done, and whether its files are whole."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ablation.models.checkpoint_files import find_problem
from ablation.records.paths import RunPaths, TrainingPaths
from ablation.records.schema import Status, TrainingRecord
from ablation.records.storage import read_status


def is_trained(training: TrainingPaths) -> bool:
    """Return True if the training is completed and its weights are there and whole."""
    is_completed = read_status(training.record, TrainingRecord) is Status.COMPLETED
    return is_completed and training.weights.exists() and not find_problem(training.weights)


def find_damaged_results(run: RunPaths, training: TrainingPaths) -> list[Path]:
    """Return the torn matches and resamples of a run; a new evaluation writes them again.

    Missing files are not damaged: they may have been deleted to save space. Without the trained weights nothing can be
    evaluated, so nothing is returned. Only the ends of the files are read, because a plan may have a thousand runs;
    the report, which reads all of them, names those with other damage.
    """
    if not training.weights.is_file():
        return []
    files = [run.resamples, *run.folder.glob("matches-*.npz")]
    return [file for file in sorted(files) if file.exists() and not zipfile.is_zipfile(file)]
