"""What COCO's greedy matching decided, kept per image so that a score can be counted again over other images."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.records.errors import RecordError

SCHEMA_VERSION = 1

# pycocotools' parameters. Areas are in square pixels, both ends included.
THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
}
MAX_DETECTIONS = 100  # kept of one class in one image

# A decision for all thresholds and areas is one integer: bit 10·area + threshold.
OF_ONE_AREA = (1 << len(THRESHOLDS)) - 1
OF_ALL = (1 << len(THRESHOLDS) * len(AREAS)) - 1


def starts(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """Where the runs of equal rows begin; columns: (n,) each."""
    is_first = np.ones(len(columns[0]), bool)
    is_first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(is_first)


def ranks(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """(n,) the position of each row in its run of equal rows, from 0."""
    first = starts(*columns)
    rows = len(columns[0])
    return np.arange(rows) - np.repeat(first, np.diff(first, append=rows))


@dataclass(frozen=True)
class Matches:
    """The outcome of matching D detections with the ground truth of I images and K classes.

    image_ids: (I,), ascending. category_ids: (K,), ascending; category_names: (K,).
    image, category: (D,) positions in these; score: (D,), confidence as given.
    matched, ignored: (D,) bit 10·area + threshold, in the order of AREAS and THRESHOLDS. A detection is a true
        positive where it is matched and not ignored, a false positive where it is neither.
    Detections are sorted as they are counted: by class, falling score, image, rank in their image.
    truth_image, truth_category: (N,) the pairs that have ground truth, sorted by class and image;
    truth_count: (N, 4) ground truths to be found in each area, crowds left out.
    """

    image_ids: NDArray[Any]
    category_ids: NDArray[Any]
    category_names: NDArray[np.str_]
    image: NDArray[np.int32]
    category: NDArray[np.int32]
    score: NDArray[np.float64]
    matched: NDArray[np.int64]
    ignored: NDArray[np.int64]
    truth_image: NDArray[np.int32]
    truth_category: NDArray[np.int32]
    truth_count: NDArray[np.int32]

    def save(self, path: Path) -> None:
        """Write a compressed .npz under exactly this name; `record.replacing` makes it atomic.

        Scores that are float32 numbers, as a detector's are, are kept as such.
        """
        arrays = dict(vars(self))
        narrow = self.score.astype(np.float32)
        if np.array_equal(narrow, self.score):
            arrays["score"] = narrow
        with path.open("wb") as file:  # given a name, numpy would add a suffix
            np.savez_compressed(file, schema_version=SCHEMA_VERSION, **arrays)

    @classmethod
    def load(cls, path: Path) -> Matches:
        """Read what `save` wrote.

        Raises:
            RecordError: the file is torn, holds something else, or is of another schema.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if (schema := int(arrays.pop("schema_version"))) != SCHEMA_VERSION:
                raise ValueError(f"it has schema {schema}")
            return cls(**arrays | {"score": arrays["score"].astype(np.float64)})
        except FileNotFoundError:
            raise
        except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
            raise RecordError(f"{path} cannot be read as matches of schema {SCHEMA_VERSION}: {error}") from error
