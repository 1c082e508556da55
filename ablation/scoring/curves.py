"""Precision over recall from stored matches, with the images' weights as a parameter.

The curve rises at true positives only, so precision is taken there and nowhere else, from running sums of the weights,
of all classes at once. All sums are of integers, and each quotient is formed as pycocotools forms it: its numbers come
out to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablation.scoring.matches import AREAS, OF_ONE_AREA, THRESHOLDS, Matches, starts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_RECALLS = np.linspace(0.0, 1.0, 101)


def bits_of(decisions: IntArray, area: str) -> IntArray:
    """(n,) decisions to (n,) bits of the ten thresholds, of one area."""
    return decisions >> list(AREAS).index(area) * len(THRESHOLDS) & OF_ONE_AREA


@dataclass(frozen=True)
class Rows:
    """Detections in the order in which they are counted.

    A row stands for all copies of a detection. Where an image has several detections of one class with one score,
    its first copy's come before its second's, so there each copy has a row of its own.

    image, category, matched, ignored: (n,) as in Matches; classes: K.
    copies: rows that stand for one copy only; numbers: which copy that is, from 0.
    """

    image: NDArray[np.int32]
    category: NDArray[np.int32]
    matched: IntArray
    ignored: IntArray
    classes: int
    copies: NDArray[np.intp]
    numbers: NDArray[np.intp]

    def weighted(self, weights: IntArray) -> IntArray:
        """(I,) weights of images to (n,) weights of rows."""
        weight = weights.take(self.image)
        weight[self.copies] = weight[self.copies] > self.numbers
        return weight


def rows_of(matches: Matches, most: NDArray[np.integer]) -> Rows:
    """The rows that are needed if no weight of an image is above `most`, (I,)."""
    start = starts(matches.category, matches.image, matches.score)
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
    """Precision over recall at one threshold and area.

    true: (n,) rows of the true positives, and category, (n,), their class; ignored: (m,) rows;
    lost: (n,) how many ignored rows come before each true positive;
    first, first_true, first_ignored: (K + 1,) where each class begins among the rows, true positives, ignored rows.
    """

    true: NDArray[np.intp]
    category: NDArray[np.int32]
    ignored: NDArray[np.intp]
    lost: NDArray[np.intp]
    first: NDArray[np.intp]
    first_true: NDArray[np.intp]
    first_ignored: NDArray[np.intp]

    def precision(self, weight: IntArray, seen: IntArray, needed: IntArray) -> FloatArray:
        """The largest precision at each recall or beyond, (101, K); 0 at recalls that are never reached.

        weight: (rows,); seen: (rows + 1,) its running sum; needed: (K, 101) true positives that make each recall.
        """
        found, ignored = running(weight.take(self.true)), running(weight.take(self.ignored))
        found_before = found.take(self.first_true[:-1])
        before = seen.take(self.first[:-1]) - ignored.take(self.first_ignored[:-1])
        counted = seen.take(self.true + 1) - ignored.take(self.lost) - before.take(self.category)
        # np.spacing(1) is pycocotools' guard against 0 / 0; it shows in the last bit of the first quotient.
        precision = (found[1:] - found_before.take(self.category)) / (counted + np.spacing(1))
        # One search in the sums of all classes: what a class lacks is found beyond its end.
        position = np.searchsorted(found[1:], needed + found_before[:, np.newaxis])
        end = self.first_true[1:, np.newaxis]
        stretches = np.minimum(position, end).ravel()
        best = np.maximum.reduceat(np.append(precision, 0.0), stretches).reshape(position.shape) * (position < end)
        envelope: FloatArray = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1].T
        return envelope


def curve_of(rows: Rows, area: str, threshold: int) -> Curve:
    """The curve at one of THRESHOLDS, by its position."""
    is_ignored = bits_of(rows.ignored, area) >> threshold & 1
    true = np.flatnonzero(bits_of(rows.matched & ~rows.ignored, area) >> threshold & 1)
    ignored = np.flatnonzero(is_ignored)
    classes = np.arange(rows.classes + 1)
    return Curve(
        true,
        rows.category[true],
        ignored,
        np.searchsorted(ignored, true),
        *(np.searchsorted(rows.category[which], classes) for which in (slice(None), true, ignored)),
    )


def running(weight: IntArray) -> IntArray:
    """Sums of the first 0, 1, ... weights."""
    sums = np.zeros(len(weight) + 1, np.int64)
    np.cumsum(weight, out=sums[1:])
    return sums


def needed_for(truths: IntArray) -> IntArray:
    """(K,) ground truths to (K, 101): of how many the share, as a float, is each recall or more; at least one."""
    total = np.maximum(truths, 1)[:, np.newaxis]
    needed = np.ceil(_RECALLS * total)
    needed -= (needed - 1) / total >= _RECALLS  # the product may be off by a rounding either way
    needed += needed / total < _RECALLS
    return np.maximum(needed, 1).astype(np.int64)
