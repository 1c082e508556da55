"""Precision-recall curves from stored matches, with the weights of the images as a parameter.

Recall rises only at true positives, so precision is computed only there, from cumulative sums of the weights, for all
classes at once. All sums are of integers and each quotient is formed as in pycocotools, so results are equal to the
last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablation.scoring.matches import AREAS, OF_ONE_AREA, THRESHOLDS, Matches, find_starts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_RECALLS = np.linspace(0.0, 1.0, 101)


def select_area(decisions: IntArray, area: str) -> IntArray:
    """Return the bits of the ten thresholds in one area.

    Args:
        decisions: Bits of all areas, shape (n,).
        area: Key of AREAS.

    Returns:
        Shape (n,).
    """
    return decisions >> list(AREAS).index(area) * len(THRESHOLDS) & OF_ONE_AREA


@dataclass(frozen=True)
class Rows:
    """Detections in the order in which they are counted.

    A row stands for all copies of a detection. If an image has several detections of one class with the same score,
    those of its first copy come before those of its second, so each copy has a row of its own.

    Attributes:
        image: As in Matches, shape (n,).
        category: As in Matches, shape (n,).
        matched: As in Matches, shape (n,).
        ignored: As in Matches, shape (n,).
        classes: Number of classes, K.
        copies: Positions of the rows that stand for a single copy.
        numbers: Number of the copy of each of these rows, counted from 0.
    """

    image: NDArray[np.int32]
    category: NDArray[np.int32]
    matched: IntArray
    ignored: IntArray
    classes: int
    copies: NDArray[np.intp]
    numbers: NDArray[np.intp]

    def weighted(self, weights: IntArray) -> IntArray:
        """Return the weight of each row, shape (n,), for weights of the images, shape (I,)."""
        weight = weights.take(self.image)
        weight[self.copies] = weight[self.copies] > self.numbers
        return weight


def arrange_rows(matches: Matches, most: NDArray[np.integer]) -> Rows:
    """Return the rows that suffice for all weights up to a maximum.

    Args:
        matches: The detections.
        most: Largest weight of each image, shape (I,).
    """
    start = find_starts(matches.category, matches.image, matches.score)
    length = np.diff(start, append=len(matches.image))
    total = length * np.where(length > 1, most[matches.image[start]], 1)
    tie = np.repeat(np.arange(len(start)), total)
    offset = np.arange(len(tie)) - np.repeat(np.cumsum(total) - total, total)
    row = start[tie] + offset % length[tie]
    copies = np.flatnonzero(length[tie] > 1)
    return Rows(
        matches.image[row],
        matches.category[row],
        matches.matched[row],
        matches.ignored[row],
        len(matches.category_ids),
        copies,
        (offset // length[tie])[copies],
    )


@dataclass(frozen=True)
class Curve:
    """Precision-recall curves of all classes at one threshold and area.

    Attributes:
        true: Rows of the n true positives.
        category: Class of each true positive, shape (n,).
        ignored: Ignored rows, shape (m,).
        lost: Number of ignored rows before each true positive, shape (n,).
        first: Start of each class among the rows, shape (K + 1,).
        first_true: Start of each class among the true positives, shape (K + 1,).
        first_ignored: Start of each class among the ignored rows, shape (K + 1,).
    """

    true: NDArray[np.intp]
    category: NDArray[np.int32]
    ignored: NDArray[np.intp]
    lost: NDArray[np.intp]
    first: NDArray[np.intp]
    first_true: NDArray[np.intp]
    first_ignored: NDArray[np.intp]

    def precision(self, weight: IntArray, seen: IntArray, needed: IntArray) -> FloatArray:
        """Return the largest precision at each recall or a higher one.

        Args:
            weight: Weight of each row, shape (rows,).
            seen: Cumulative sum of the weights from 0 on, shape (rows + 1,).
            needed: Number of true positives that reach each recall, shape (K, 101).

        Returns:
            Shape (101, K); 0 at recalls that are never reached.
        """
        found, ignored = cumulate(weight.take(self.true)), cumulate(weight.take(self.ignored))
        found_before = found.take(self.first_true[:-1])
        before = seen.take(self.first[:-1]) - ignored.take(self.first_ignored[:-1])
        counted = seen.take(self.true + 1) - ignored.take(self.lost) - before.take(self.category)
        # np.spacing(1) is pycocotools' guard against 0 / 0; it shows in the last bit of the first quotient.
        precision = (found[1:] - found_before.take(self.category)) / (counted + np.spacing(1))
        # One search serves all classes: a recall that a class never reaches is found beyond its end.
        position = np.searchsorted(found[1:], needed + found_before[:, np.newaxis])
        end = self.first_true[1:, np.newaxis]
        stretches = np.minimum(position, end).ravel()
        best = np.maximum.reduceat(np.append(precision, 0.0), stretches).reshape(position.shape) * (position < end)
        envelope: FloatArray = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1].T
        return envelope


def trace_curve(rows: Rows, area: str, threshold: int) -> Curve:
    """Return the curves of all classes at one threshold.

    Args:
        rows: The detections.
        area: Key of AREAS.
        threshold: Position in THRESHOLDS.
    """
    is_ignored = select_area(rows.ignored, area) >> threshold & 1
    true = np.flatnonzero(select_area(rows.matched & ~rows.ignored, area) >> threshold & 1)
    ignored = np.flatnonzero(is_ignored)
    classes = np.arange(rows.classes + 1)
    return Curve(
        true,
        rows.category[true],
        ignored,
        np.searchsorted(ignored, true),
        *(np.searchsorted(rows.category[which], classes) for which in (slice(None), true, ignored)),
    )


def cumulate(weight: IntArray) -> IntArray:
    """Return the sums of the first 0, 1, ... n weights, shape (n + 1,)."""
    sums = np.zeros(len(weight) + 1, np.int64)
    np.cumsum(weight, out=sums[1:])
    return sums


def required_positives(truths: IntArray) -> IntArray:
    """Return the fewest true positives, at least one, whose share of the ground truths reaches each recall as a float.

    Args:
        truths: Ground truths of each class, shape (K,).

    Returns:
        Shape (K, 101).
    """
    total = np.maximum(truths, 1)[:, np.newaxis]
    needed = np.ceil(_RECALLS * total)
    needed -= (needed - 1) / total >= _RECALLS  # the product may be off by a rounding either way
    needed += needed / total < _RECALLS
    return np.maximum(needed, 1).astype(np.int64)
