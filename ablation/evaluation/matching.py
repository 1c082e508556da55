"""COCO's greedy matching of detections with ground truth, decision for decision that of pycocotools' COCOeval.

Each of the 40 matchings (10 thresholds × 4 areas) of an image and class is one bit of an integer, so all are made in
one walk over the pairs that overlap enough for the lowest threshold; these are few.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as masks

from ablation.records.errors import DataError
from ablation.scoring.matches import AREAS, MAX_DETECTIONS, OF_ALL, OF_ONE_AREA, THRESHOLDS, Matches, ranks

Task = Literal["bbox", "segm"]

_EACH_AREA = sum(1 << area * len(THRESHOLDS) for area in range(len(AREAS)))
# By how many thresholds are reached: their bits in every area.
_REACHED = np.array([_EACH_AREA * ((1 << count) - 1) for count in range(len(THRESHOLDS) + 1)])


def match(ground_truth: Mapping[str, Any] | Path, detections: Sequence[Mapping[str, Any]], task: Task) -> Matches:
    """Match detections with ground truth as pycocotools does with its standard parameters.

    Args:
        ground_truth: A COCO data set (images, annotations, categories) or the JSON file of one. An annotation without
            `iscrowd` is no crowd, one without `area` has that of its box; `ignore` means nothing, as in pycocotools.
        detections: COCO results: image_id, category_id, score, and bbox (x, y, width, height) in pixels or segmentation
            (compressed RLE). A mask's area is that of the mask even where there is a box, as in detectron2.
        task: Which overlaps count, those of boxes or of masks.

    Raises:
        DataError: A detection is in an image that the ground truth does not list, or an object has no mask to score.
    """
    data = json.loads(ground_truth.read_bytes()) if isinstance(ground_truth, Path) else ground_truth
    names = {category["id"]: category["name"] for category in data["categories"]}
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in data["images"]}
    if unknown := {d["image_id"] for d in detections} - sizes.keys():
        raise DataError(f"There are detections in images that the ground truth lacks: {sorted(unknown)[:5]}.")
    image_ids, category_ids = np.unique(list(sizes)), np.unique(list(names))
    truths = _select_truths(data["annotations"], image_ids, category_ids, sizes, task)
    found = _select_detections(detections, image_ids, category_ids, task)
    matched, ignored = _assign(_overlapping_pairs(found, truths, task), found, truths)
    # Stable on top of the order by image, class and score: images stay ascending among equal scores.
    order = np.lexsort((-found.scores, found.category))
    return Matches(
        image_ids,
        category_ids,
        np.array([names[category] for category in category_ids.tolist()], np.str_),
        found.image[order],
        found.category[order],
        found.scores[order],
        matched[order],
        ignored[order],
        *_count_truths(truths),
    )


@dataclass(frozen=True)
class _Shapes:
    """The n boxes or masks of a task, sorted by image and class.

    Attributes:
        image: (n,) positions of the image ids.
        category: (n,) positions of the category ids.
        shapes: (n, 4) boxes or n masks as compressed RLE.
        outside: (n,) bits of the ranges of area that do not contain the area of a shape.
    """

    image: NDArray[np.int32]
    category: NDArray[np.int32]
    shapes: Any
    outside: NDArray[np.int64]


@dataclass(frozen=True)
class _Truths(_Shapes):
    """The n ground truths.

    Attributes:
        crowds: (n,) True for crowds, which may be matched any number of times and count nowhere.
        nameless: (n,) True where the annotation's id is 0. pycocotools notes a match by the id and reads 0 as no match.
    """

    crowds: NDArray[np.bool_]
    nameless: NDArray[np.bool_]


@dataclass(frozen=True)
class _Detections(_Shapes):
    """The n detections; their scores, (n,), fall within an image and class."""

    scores: NDArray[np.float64]


def _select_truths(
    annotations: Sequence[Mapping[str, Any]],
    image_ids: NDArray[Any],
    category_ids: NDArray[Any],
    sizes: Mapping[Any, tuple[int, int]],
    task: Task,
) -> _Truths:
    images, categories = set(image_ids.tolist()), set(category_ids.tolist())
    known = [a for a in annotations if a["image_id"] in images and a["category_id"] in categories]
    image, category = _positions(image_ids, known, "image_id"), _positions(category_ids, known, "category_id")
    order = np.lexsort((category, image))
    known = [known[i] for i in order.tolist()]
    areas = [a["area"] if "area" in a else a["bbox"][2] * a["bbox"][3] for a in known]
    return _Truths(
        image[order],
        category[order],
        _boxes(known) if task == "bbox" else [truth_mask(a, sizes[a["image_id"]]) for a in known],
        _outside(np.array(areas, np.float64)),
        np.array([bool(a.get("iscrowd", 0)) for a in known], bool),
        np.array([a["id"] == 0 for a in known], bool),
    )


def _select_detections(
    detections: Sequence[Mapping[str, Any]], image_ids: NDArray[Any], category_ids: NDArray[Any], task: Task
) -> _Detections:
    """Return the first hundred detections of each image and class by falling score; ties keep their order."""
    categories = set(category_ids.tolist())
    known = [d for d in detections if d["category_id"] in categories]
    image, category = _positions(image_ids, known, "image_id"), _positions(category_ids, known, "category_id")
    score = np.array([d["score"] for d in known], np.float64)
    order = np.lexsort((-score, category, image))
    order = order[ranks(image[order], category[order]) < MAX_DETECTIONS]
    known = [known[i] for i in order.tolist()]
    shapes = _boxes(known) if task == "bbox" else [d["segmentation"] for d in known]
    if isinstance(shapes, np.ndarray):
        areas = shapes[:, 2] * shapes[:, 3]
    else:
        # In parts, because pycocotools keeps their number in a byte: it fails for 256 masks at once.
        parts = [masks.area(shapes[start : start + 255]) for start in range(0, len(shapes), 255)]
        areas = np.concatenate([np.zeros(0), *parts])
    return _Detections(image[order], category[order], shapes, _outside(np.asarray(areas, np.float64)), score[order])


def _positions(ids: NDArray[Any], entries: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.int32]:
    """Return the positions of the entries' ids of an image or a class among the sorted ids."""
    return np.searchsorted(ids, np.array([entry[key] for entry in entries], ids.dtype)).astype(np.int32)


def _boxes(entries: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    return np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)


def as_rle(segmentation: Any, size: tuple[int, int]) -> Any:
    """Return a mask of (height, width) as compressed RLE, from polygons or either kind of RLE."""
    if isinstance(segmentation, list):
        return masks.merge(masks.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return masks.frPyObjects(segmentation, *size)
    return segmentation


def truth_mask(annotation: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """Return the mask of a ground truth in an image of (height, width), as compressed RLE.

    A crowd without a mask covers its box: detections there do not count as wrong. pycocotools fails on it.

    Raises:
        DataError: An object that is no crowd has no mask.
    """
    if annotation.get("segmentation"):
        return as_rle(annotation["segmentation"], size)
    if not annotation.get("iscrowd"):
        raise DataError(
            f"Annotation {annotation['id']} has no segmentation, so masks cannot be scored. Give masks of all objects, "
            "or score boxes."
        )
    return masks.merge(masks.frPyObjects(np.array([annotation["bbox"]], np.float64), *size))


def _outside(areas: NDArray[np.float64]) -> NDArray[np.int64]:
    bits = np.zeros(len(areas), np.int64)
    for number, (low, high) in enumerate(AREAS.values()):
        bits |= np.where((areas < low) | (areas > high), OF_ONE_AREA << len(THRESHOLDS) * number, 0)
    return bits


def _count_truths(truths: _Truths) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return image, class and number in each range of area of the ground truths that are no crowds, sorted by class
    and image."""
    pairs = np.stack([truths.category, truths.image], axis=1)
    pairs, index = np.unique(pairs[~truths.crowds], axis=0, return_inverse=True)
    shifts = len(THRESHOLDS) * np.arange(len(AREAS))
    is_inside = ~truths.outside[~truths.crowds, np.newaxis] >> shifts & 1
    count = np.zeros((len(pairs), len(AREAS)), np.int32)
    np.add.at(count, index.reshape(-1), is_inside.astype(np.int32))
    return pairs[:, 1], pairs[:, 0], count


@dataclass(frozen=True)
class _Pairs:
    """The n pairs of a detection and a ground truth of its image and class that overlap by the lowest threshold.

    Attributes:
        detection: (n,) positions, rising.
        truth: (n,) positions; of each detection's pairs the larger overlap comes first.
        reached: (n,) bits of the thresholds that the overlap reaches, in every range of area.
    """

    detection: NDArray[np.intp]
    truth: NDArray[np.intp]
    reached: NDArray[np.int64]


def _overlapping_pairs(found: _Detections, truths: _Truths, task: Task) -> _Pairs:
    """Find the pairs by pycocotools' overlap: for crowds intersection over the detection's area, else over union."""
    # Boxes are compared by image, because a call costs more than comparing other classes in vain; masks, which cost
    # more, by image and class.
    keys = [shapes.image.astype(np.int64) for shapes in (found, truths)]
    if task == "segm":
        keys = [key << 32 | shapes.category for key, shapes in zip(keys, (found, truths), strict=True)]
    common = np.intersect1d(keys[0], keys[1])
    bounds = [np.searchsorted(key, common, side).tolist() for key in keys for side in ("left", "right")]
    # The empty first part keeps the types where nothing overlaps.
    parts = [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))]
    for first, end, first_truth, end_truth in zip(*bounds, strict=True):
        crowds = truths.crowds[first_truth:end_truth].tolist()
        overlaps = masks.iou(found.shapes[first:end], truths.shapes[first_truth:end_truth], crowds)
        rows, columns = np.nonzero(overlaps >= THRESHOLDS[0])
        parts.append((rows + first, columns + first_truth, overlaps[rows, columns]))
    detection, truth, overlap = (np.concatenate(column) for column in zip(*parts, strict=True))
    is_same = found.category[detection] == truths.category[truth]
    detection, truth, overlap = detection[is_same], truth[is_same], overlap[is_same]
    order = np.lexsort((-truth, -overlap, detection))  # of equal overlaps pycocotools takes the last
    reached = _REACHED[np.searchsorted(THRESHOLDS, overlap, side="right")]
    return _Pairs(detection[order], truth[order], reached[order])


def _assign(pairs: _Pairs, found: _Detections, truths: _Truths) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match each detection, best first, with the best ground truth left; one that counts before any that does not.

    Returns:
        Two arrays of bits, (D,) each: where detections are matched, and where they are ignored.
    """
    matched, ignored = np.zeros(len(found.image), np.int64), found.outside.copy()
    counts = np.where(truths.crowds, 0, OF_ALL & ~truths.outside).tolist()
    crowds, nameless = truths.crowds.tolist(), truths.nameless.tolist()
    free = [OF_ALL] * len(counts)
    rows = zip(pairs.detection.tolist(), pairs.truth.tolist(), pairs.reached.tolist(), strict=True)
    for detection, group in groupby(rows, itemgetter(0)):
        candidates = list(group)
        taken = taken_ignored = 0
        unmatched = OF_ALL
        for flip in (0, OF_ALL):  # first where the ground truth counts, then where it does not
            for _, truth, reached in candidates:
                bits = reached & (counts[truth] ^ flip) & unmatched & free[truth]
                unmatched &= ~bits
                free[truth] &= OF_ALL if crowds[truth] else ~bits
                taken |= 0 if nameless[truth] else bits
                taken_ignored |= bits & flip
        matched[detection] = taken
        ignored[detection] = taken_ignored | ignored[detection] & ~taken
    return matched, ignored
