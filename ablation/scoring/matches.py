"""Decisions of COCO's greedy matching, stored per image so that scores can be computed over other images later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.scoring.archive import open_archive

SCHEMA_VERSION = 1

# pycocotools' parameters. Areas are in square pixels, both ends included.
THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
}
MAX_DETECTIONS = 100  # of one class in one image

# One integer holds the decisions for all thresholds and areas, in bit 10 * area + threshold.
OF_ONE_AREA = (1 << len(THRESHOLDS)) - 1
OF_ALL = (1 << len(THRESHOLDS) * len(AREAS)) - 1

_OF_DETECTIONS = ("image", "category", "score", "matched", "ignored")
_OF_TRUTHS = ("truth_image", "truth_category", "truth_count")


def find_starts(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """Return the positions where runs of equal rows begin.

    Args:
        *columns: Columns of the rows, shape (n,) each.
    """
    is_first = np.ones(len(columns[0]), bool)
    is_first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(is_first)


def ranks(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """Return the position of each row in its run of equal rows, counted from 0.

    Args:
        *columns: Columns of the rows, shape (n,) each.

    Returns:
        Shape (n,).
    """
    first = find_starts(*columns)
    rows = len(columns[0])
    return np.arange(rows) - np.repeat(first, np.diff(first, append=rows))


@dataclass(frozen=True)
class Matches:
    """Result of matching D detections with the ground truth of I images and K classes.

    Detections are sorted by class, falling score, image and rank in their image, the order in which they are counted.
    A detection is a true positive if it is matched and not ignored, and a false positive if it is neither.

    Attributes:
        image_ids: Shape (I,), ascending.
        category_ids: Shape (K,), ascending.
        category_names: Shape (K,).
        image: Position in image_ids of each detection, shape (D,).
        category: Position in category_ids of each detection, shape (D,).
        score: Confidence of each detection, shape (D,).
        matched: Shape (D,); bit 10 * area + threshold, in the order of AREAS and THRESHOLDS, is set if the detection
            matches a ground truth.
        ignored: Shape (D,); the same bit is set if the detection does not count.
        truth_image: Image of each of the N pairs of image and class that have ground truth, sorted by class and image.
        truth_category: Class of each of these pairs, shape (N,).
        truth_count: Ground truths of each pair in each area without crowds, shape (N, 4).
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
        """Write a compressed .npz file under exactly this name.

        Not atomic by itself; use records.atomic.replacing. Scores that float32 represents exactly, such as those of a
        detector, are stored as float32.
        """
        arrays = dict(vars(self))
        narrow = self.score.astype(np.float32)
        if np.array_equal(narrow, self.score):
            arrays["score"] = narrow
        with path.open("wb") as file:  # NumPy would add a suffix to a path
            np.savez_compressed(file, schema_version=SCHEMA_VERSION, **arrays)

    @classmethod
    def load(cls, path: Path) -> Matches:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: The file does not exist.
            RecordError: The file is damaged, holds something else, or has another schema.
        """
        with open_archive(path, f"matches of schema {SCHEMA_VERSION}") as file:
            arrays = {name: file[name] for name in file.files}
            if (schema := int(arrays.pop("schema_version"))) != SCHEMA_VERSION:
                raise ValueError(f"it has schema {schema}")
            matches = cls(**arrays | {"score": arrays["score"].astype(np.float64)})
            for columns in (_OF_DETECTIONS, _OF_TRUTHS):
                if len(lengths := {len(getattr(matches, name)) for name in columns}) > 1:
                    raise ValueError(f"{', '.join(columns)} have different lengths {sorted(lengths)}")
            return matches
