"""Damage to the files beside the record of a completed run."""

from __future__ import annotations

import zipfile
from pathlib import Path

from PIL import Image

from ablation.records.paths import RunPaths, TrainingPaths


def find_damaged_results(run: RunPaths, training: TrainingPaths) -> list[Path]:
    """Return the damaged matches, resamples and pictures of a run; a new evaluation writes them again.

    Missing files are not damaged: they may have been deleted to save space. Without the trained weights nothing can be
    evaluated, so nothing is returned.
    """
    if not training.weights.is_file():
        return []
    pictures = list(run.pictures.glob("*.png")) if run.pictures.is_dir() else [run.pictures]
    files = [run.resamples, *run.folder.glob("matches-*.npz"), *pictures]
    return [file for file in sorted(files) if file.exists() and not _is_whole(file)]


def _is_whole(file: Path) -> bool:
    """Return True if all checksums in the file are right."""
    try:
        if file.suffix == ".png":
            with Image.open(file) as image:
                image.verify()
            return True
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile, zlib and Pillow raise a dozen types
        return False
