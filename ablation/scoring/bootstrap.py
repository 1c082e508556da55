"""AP on bootstrap resamples of the test images, computed once per run from its stored matches.

The resamples depend only on the images, so two runs on the same test set share them, and differences between the runs
are paired by image (Efron & Tibshirani 1993, section 8; Koehn, EMNLP 2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablation.scoring import METRICS, Matches, score_resamples
from ablation.scoring.archive import open_archive

RESAMPLES = 1000


def write_resamples(path: Path, matches: Mapping[str, Matches], primary_metric: str) -> None:
    """Write AP of each task and the primary metric on RESAMPLES resamples of the images.

    Args:
        path: The file, written under exactly this name.
        matches: By task (bbox, segm), all of the same images.
        primary_metric: Task and name, such as segm/AP50.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    images = 0
    for task, task_matches in matches.items():
        images = len(task_matches.image_ids)
        # NumPy's legacy generator is frozen, so every version draws the same numbers.
        weights = np.random.RandomState(0).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
        primary = primary_metric.removeprefix(f"{task}/")
        names = tuple(dict.fromkeys(["AP", *([primary] if primary in METRICS else [])]))
        for name, values in zip(names, score_resamples(task_matches, weights, names).T, strict=True):
            arrays[f"{task}/{name}"] = values.astype(np.float32)  # precise to 0.00001 points
    with path.open("wb") as file:  # NumPy would add a suffix to a path
        np.savez_compressed(file, images=np.int64(images), **arrays)  # type: ignore[arg-type]


def read_resamples(path: Path, metric: str) -> tuple[NDArray[np.float64], int] | None:
    """Read a metric on all resamples of a run.

    Args:
        path: File that `write_resamples` wrote.
        metric: Task and name, such as bbox/AP.

    Returns:
        The metric on each resample, shape (B,), in percent, and the number of images. None if the file does not exist
        or does not hold the metric.

    Raises:
        RecordError: The file is damaged.
    """
    try:
        with open_archive(path, "resamples") as file:
            if metric not in file.files:
                return None
            values = file[metric].astype(np.float64)
            if values.shape != (RESAMPLES,):
                raise ValueError(f"{metric} has the shape {values.shape} instead of ({RESAMPLES},)")
            return values, int(file["images"])
    except FileNotFoundError:
        return None
