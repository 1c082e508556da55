"""Kinds of error and the AP that each costs: TIDE (Bolya et al., ECCV 2020, arXiv 2008.08115).

The numbers are those of tidecv 1.0.1, its order of equal scores included. tidecv itself is no dependency: it needs
opencv-python, which overwrites opencv-python-headless, and loads matplotlib, seaborn and pandas at import.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as masks

from ablation.evaluation.matching import Task, truth_mask

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# TIDE's defaults: overlaps of a match and of mere background; detections in an image, of all classes together.
_MATCH, _BACKGROUND = 0.5, 0.1
_MAX_DETECTIONS = 100

_KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg")
_CLS, _LOC, _BOTH, _DUPE, _BKG = range(len(_KINDS))
_NONE = -1


def error_shift(
    ground_truth: Mapping[str, Any] | Path, detections: Sequence[Mapping[str, Any]], task: Task
) -> dict[str, float]:
    """Return by how many points AP50 would rise if all errors of one kind were fixed.

    The parts do not sum to 100 - AP50, and they do not rank detectors.

    Args:
        ground_truth: As for `matching.match`.
        detections: As for `matching.match`.
        task: Which overlaps count, those of boxes or of masks.

    Returns:
        AP50 in percent as TIDE counts it (100 detections per image, of all classes together; a class with detections
        and no ground truth scores 0), then Cls, Loc, Both, Dupe, Bkg, Miss, FalsePos and FalseNeg in points. NaN where
        no class is left to score, as when nothing is detected and no miss counts; tidecv fails there.
    """
    data = json.loads(ground_truth.read_bytes()) if isinstance(ground_truth, Path) else ground_truth
    outcome = _diagnose(data, detections, task)
    counted = ~outcome.is_ignored
    ap = _mean_ap(outcome.category[counted], outcome.score[counted], outcome.is_true[counted], outcome.truths)
    gains = {name: _ap_with_fix(outcome, kind) - ap for kind, name in enumerate(_KINDS)}
    gains["Miss"] = _ap_with_fix(replace(outcome, truths=outcome.truths - outcome.missed)) - ap
    ranked = replace(outcome, score=outcome.is_true.astype(np.float64))
    complete = replace(outcome, truths=outcome.truths - outcome.unmatched)
    return {
        "AP50": ap,
        **{name: max(gain, 0.0) for name, gain in gains.items()},  # interpolation can make a gain slightly negative
        "FalsePos": _ap_with_fix(ranked) - ap,
        "FalseNeg": _ap_with_fix(complete) - ap,
    }


@dataclass(frozen=True)
class _Outcome:
    """The n detections by image, in the file's order, and falling score, each with its error; K classes.

    Attributes:
        category: (n,) positions of their classes.
        score: (n,).
        is_true: (n,) True where the detection is right.
        is_ignored: (n,) True where it lies in a crowd and matches nothing else.
        kind: (n,) position in _KINDS, _NONE where right.
        fixed_category: (n,) the class in which the detection would be right with its error fixed, _NONE where it would
            vanish.
        truths: (K,) number of ground truths.
        unmatched: (K,) those without a match.
        missed: (K,) those of the unmatched that no fixed error would match.
    """

    category: IntArray
    score: FloatArray
    is_true: BoolArray
    is_ignored: BoolArray
    kind: IntArray
    fixed_category: IntArray
    truths: IntArray
    unmatched: IntArray
    missed: IntArray


@dataclass(frozen=True)
class _Shapes:
    """The n detections or ground truths of one image.

    Attributes:
        category: (n,) positions of their classes.
        score: (n,), 0 for ground truths.
        crowds: (n,) True for crowds.
        shapes: n boxes or masks as pycocotools takes them.
    """

    category: IntArray
    score: FloatArray
    crowds: BoolArray
    shapes: Sequence[Any]


def _diagnose(data: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], task: Task) -> _Outcome:
    classes = {entry["category_id"] for entry in (*data["annotations"], *detections)}
    positions = {category: position for position, category in enumerate(sorted(classes))}
    entries: dict[Any, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for side, objects in enumerate((data["annotations"], detections)):
        for entry in objects:
            entries[entry["image_id"]][side].append(entry)
    columns: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for image in data["images"]:
        size = image.get("height"), image.get("width")
        annotations, found = entries[image["id"]]
        found = sorted(found, key=lambda detection: -detection["score"])[:_MAX_DETECTIONS]
        truths, own = (_shapes(objects, size, task, positions) for objects in (annotations, found))
        for name, column in _diagnose_image(own, truths, len(classes)).items():
            columns[name].append(column)
    totals = {name: np.sum(columns.pop(name), axis=0) for name in ("truths", "unmatched", "missed")}
    return _Outcome(**totals, **{name: np.concatenate(parts) for name, parts in columns.items()})


def _shapes(entries: Sequence[Mapping[str, Any]], size: Any, task: Task, positions: Mapping[Any, int]) -> _Shapes:
    return _Shapes(
        np.array([positions[entry["category_id"]] for entry in entries], np.int64),
        np.array([entry.get("score", 0.0) for entry in entries], np.float64),
        np.array([bool(entry.get("iscrowd", 0)) for entry in entries], bool),
        [entry["bbox"] if task == "bbox" else truth_mask(entry, size) for entry in entries],
    )


def _diagnose_image(found: _Shapes, truths: _Shapes, classes: int) -> dict[str, NDArray[Any]]:
    """Return the fields of an _Outcome for one image."""
    wanted = truths.category[~truths.crowds]
    # A last column for a ground truth that nothing overlaps, so that there always is one.
    overlaps = np.pad(_overlaps(found, truths, is_crowd=False), ((0, 0), (0, 1)))
    is_same = found.category[:, np.newaxis] == np.append(wanted, _NONE)
    match = _match_detections(overlaps * is_same)
    is_true = match != _NONE
    is_used = np.zeros(len(wanted) + 1, bool)
    is_used[match[is_true]] = True
    kind, target = _classify_errors(overlaps, is_same, is_used)
    kind[is_true] = _NONE
    fixable = np.flatnonzero(~is_true & (target != _NONE) & ~is_used[target])
    matched, first = np.unique(target[fixable], return_index=True)  # of several, the one with the largest score
    fixed_category = np.full(len(kind), _NONE)
    fixed_category[fixable[first]] = wanted[matched]
    is_missed = ~is_used[:-1]
    is_missed[matched] = False
    is_inside = _overlaps(found, truths, is_crowd=True) > _MATCH
    is_inside &= found.category[:, np.newaxis] == truths.category[truths.crowds]
    return {
        "category": found.category,
        "score": found.score,
        "is_true": is_true,
        "is_ignored": ~is_true & is_inside.any(axis=1),
        "kind": kind,
        "fixed_category": fixed_category,
        "truths": np.bincount(wanted, minlength=classes),
        "unmatched": np.bincount(wanted[~is_used[:-1]], minlength=classes),
        "missed": np.bincount(wanted[is_missed], minlength=classes),
    }


def _overlaps(found: _Shapes, truths: _Shapes, is_crowd: bool) -> FloatArray:
    """Return (n, m) overlaps with the m ground truths that are crowds, or with those that are not."""
    shapes = [shape for shape, own in zip(truths.shapes, truths.crowds.tolist(), strict=True) if own == is_crowd]
    if not shapes or not found.shapes:
        return np.zeros((len(found.shapes), len(shapes)))
    overlaps: FloatArray = masks.iou(found.shapes, shapes, [is_crowd] * len(shapes))
    return overlaps


def _match_detections(overlaps: FloatArray) -> IntArray:
    """Return the (n,) ground truth of each detection, best first, or _NONE; overlaps: (n, m) within a class."""
    left, match = overlaps.copy(), np.full(len(overlaps), _NONE)
    for detection, row in enumerate(left):
        best = int(row.argmax())
        if row[best] >= _MATCH:
            match[detection] = best
            left[:, best] = 0
    return match


def _classify_errors(overlaps: FloatArray, is_same: BoolArray, is_used: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the kind of error of each detection, as if none were right, and the ground truth that it missed."""
    own, other = overlaps * is_same, overlaps * ~is_same
    is_misplaced = (own.max(axis=1) >= _BACKGROUND) & (own.max(axis=1) <= _MATCH)
    is_misnamed = other.max(axis=1) >= _MATCH
    is_repeated = (own * is_used).max(axis=1) >= _MATCH
    is_background = overlaps.max(axis=1) <= _BACKGROUND
    conditions = [is_misplaced, is_misnamed, is_repeated, is_background]
    kind = np.select(conditions, [_LOC, _CLS, _DUPE, _BKG], _BOTH)
    return kind, np.select(conditions[:2], [own.argmax(axis=1), other.argmax(axis=1)], _NONE)


def _ap_with_fix(outcome: _Outcome, kind: int | None = None) -> float:
    """Return AP50 with all errors of a kind fixed: the detection becomes right, or vanishes."""
    is_fixed = outcome.kind == kind if kind is not None else np.zeros(len(outcome.kind), bool)
    is_corrected = is_fixed & (outcome.fixed_category != _NONE)
    is_left = np.where(is_fixed, is_corrected, ~outcome.is_ignored)
    # tidecv's order, which decides between equal scores: errors come before what was right from the start.
    order = np.argsort(outcome.is_true, kind="stable")
    order = order[is_left[order]]
    category = np.where(is_corrected, outcome.fixed_category, outcome.category)
    return _mean_ap(category[order], outcome.score[order], (outcome.is_true | is_corrected)[order], outcome.truths)


def _mean_ap(category: IntArray, score: FloatArray, is_true: BoolArray, truths: IntArray) -> float:
    """Return the mean AP over the classes that have detections or ground truth, in percent."""
    order = np.argsort(-score, kind="stable")
    category, is_true = category[order], is_true[order]
    classes = np.union1d(category, np.flatnonzero(truths)).tolist()
    return float(np.mean([_ap(is_true[category == c], int(truths[c])) for c in classes])) if classes else math.nan


def _ap(is_true: BoolArray, truths: int) -> float:
    if not truths:
        return 0.0
    found = np.cumsum(is_true)
    precision = found / np.arange(1, len(found) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(np.mean(envelope[np.searchsorted(found / truths, np.arange(101) / 100)]) * 100)
