"""AP on bootstrap resamples of the test images: counted once, beside the run, from its stored matches.

The resamples depend on the images alone, so that those of two runs on one test set are the same, and differences
between them are paired by image (Efron & Tibshirani 1993, section 8; Koehn, EMNLP 2004).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablation.records.errors import RecordError
from ablation.scoring import METRICS, Matches, resampled

RESAMPLES = 1000


def write_resamples(path: Path, matches: Mapping[str, Matches], primary_metric: str) -> None:
    """Write AP of each task, and the primary metric, on a thousand resamples; under exactly this name.

    matches: by task (bbox, segm), all of the same images.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    images = 0
    for task, found in matches.items():
        images = len(found.image_ids)
        # numpy's legacy generator is frozen: the same numbers in every version.
        weights = np.random.RandomState(0).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
        primary = primary_metric.removeprefix(f"{task}/")
        names = tuple(dict.fromkeys(["AP", *([primary] if primary in METRICS else [])]))
        for name, values in zip(names, resampled(found, weights, names).T, strict=True):
            arrays[f"{task}/{name}"] = values.astype(np.float32)  # to a hundred-thousandth of a point
    with path.open("wb") as file:  # given a name, numpy would add a suffix
        np.savez_compressed(file, images=np.int64(images), **arrays)  # type: ignore[arg-type]


def read_resamples(path: Path, metric: str) -> tuple[NDArray[np.float64], int] | None:
    """The metric on each resample, shape (B,), in percent, and the number of images; None where there is none.

    Raises:
        RecordError: the file is torn.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return (file[metric].astype(np.float64), int(file["images"])) if metric in file.files else None
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} cannot be read as resamples: {error}") from error
