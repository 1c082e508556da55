"""Remarks on valid annotations that a training will not use as they seem to be intended: counted, not refused."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from pycocotools import mask as masks

# detectron2 clips boxes to the image; COCO's own exceed it by a rounded fraction of a pixel.
_TOLERANCE = 1.0  # pixels
_SLENDER = 50  # length over width; resized to a longest side of 1,333, such an image is a few pixels wide

_PROBLEMS = {
    "empty": "have a box without an area in their image: no training sees them, and no test finds them",
    "outside": "have a box that extends beyond their image: a training sees the part inside "
    "(bbox is [x, y, width, height])",
    "area": "have an area that is 0 or larger than their box: they count for a wrong size in APs, APm and APl",
    "polygon": "have a polygon that extends beyond their image: a training sees the part inside",
    "mask": "have a mask that does not fit their box",
    "keypoints": "have a num_keypoints other than the number of their labelled keypoints",
}

_Entry = dict[str, Any]
_Extent = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


def find_remarks(images: list[_Entry], annotations: list[_Entry], categories: list[_Entry]) -> tuple[str, ...]:
    """Return one sentence for each kind of doubtful annotation, with its count and the first place."""
    by_id = {image["id"]: image for image in images}
    ids: dict[str, list[int]] = {kind: [] for kind in _PROBLEMS}
    for annotation in annotations:
        for kind in _find_problems(annotation, by_id[annotation["image_id"]]):
            ids[kind].append(annotation["id"])
    remarks = [
        f"{len(found)} of {len(annotations)} objects {_PROBLEMS[kind]}; the first is annotation {found[0]}."
        for kind, found in ids.items()
        if found
    ]
    return (*remarks, *_missing_parts(annotations), *_odd_images(images), *_repeated_names(categories))


def is_trained_on(annotation: _Entry, image: _Entry) -> bool:
    """Return True if detectron2 trains on an object: it is no crowd, and its box has an area inside the image."""
    x, y, width, height = annotation["bbox"]
    is_inside = min(x + width, image["width"]) > max(x, 0) and min(y + height, image["height"]) > max(y, 0)
    return not annotation.get("iscrowd") and is_inside


def _find_problems(annotation: _Entry, image: _Entry) -> list[str]:
    if annotation.get("iscrowd"):
        return []
    if not is_trained_on(annotation, image):
        return ["empty"]
    x, y, width, height = annotation["bbox"]
    box = (x, y, x + width, y + height)
    kinds = ["outside"] if _extends_beyond(box, image) else []
    if not 0 < annotation.get("area", 1) <= (width + _TOLERANCE) * (height + _TOLERANCE):
        kinds.append("area")
    if segmentation := annotation.get("segmentation"):
        extent = _extent(segmentation)
        if _extends_beyond(extent, image) and "outside" not in kinds:
            kinds.append("polygon")
        allowed = 2 * _TOLERANCE + 0.1 * max(width, height)
        if any(abs(a - b) > allowed for a, b in zip(extent, box, strict=True)):
            kinds.append("mask")
    keypoints = annotation.get("keypoints") or []
    labelled = sum(visibility > 0 for visibility in keypoints[2::3])
    if keypoints and annotation.get("num_keypoints", labelled) != labelled:
        kinds.append("keypoints")
    return kinds


def _extent(segmentation: Any) -> _Extent:
    """Return the box around polygons or run lengths; an empty mask fits no box."""
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        is_compressed = isinstance(segmentation["counts"], str)
        rle = segmentation if is_compressed else masks.frPyObjects(segmentation, height, width)
        if not masks.area(rle):
            return math.inf, math.inf, -math.inf, -math.inf
        left, top, width, height = masks.toBbox(rle).tolist()
        return left, top, left + width, top + height
    xs = [value for polygon in segmentation for value in polygon[0::2]]
    ys = [value for polygon in segmentation for value in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _extends_beyond(box: _Extent, image: _Entry) -> bool:
    is_left = min(box[0], box[1]) < -_TOLERANCE
    return is_left or box[2] > image["width"] + _TOLERANCE or box[3] > image["height"] + _TOLERANCE


def _missing_parts(annotations: list[_Entry]) -> list[str]:
    """Masks or keypoints that only some objects have: a training needs them of all, so it uses none."""
    objects = [a for a in annotations if not a.get("iscrowd")]
    remarks = []
    for key, name, parts in (("segmentation", "mask", "masks"), ("keypoints", "keypoints", "keypoints")):
        without = sum(not a.get(key) for a in objects)
        if 0 < without < len(objects):
            remarks.append(
                f"{without} of {len(objects)} objects have no {name}, so {parts} are neither trained on nor scored."
            )
    crowds = [a for a in annotations if a.get("iscrowd")]
    bare = sum(not a.get("segmentation") for a in crowds)
    if bare and any(a.get("segmentation") for a in objects):
        remarks.append(f"{bare} of {len(crowds)} crowds have no mask, so each covers its box where masks are scored.")
    return remarks


def _odd_images(images: list[_Entry]) -> list[str]:
    remarks = []
    names = Counter(image["file_name"] for image in images)
    if repeated := [name for name, count in names.items() if count > 1]:
        remarks.append(
            f"{len(repeated)} of {len(names)} files have several image ids, the first is {repeated[0]!a}: "
            "under each id only a part of their objects is known."
        )
    slender = [i for i in images if max(i["width"], i["height"]) > _SLENDER * min(i["width"], i["height"])]
    if slender:
        remarks.append(
            f"{len(slender)} of {len(images)} images are more than {_SLENDER} times as long as wide, the first is "
            f"{slender[0]['file_name']!a}: resized, hardly a pixel of their width is left."
        )
    return remarks


def _repeated_names(categories: list[_Entry]) -> list[str]:
    names = Counter(category["name"] for category in categories)
    repeated = sorted(ascii(name) for name, count in names.items() if count > 1)
    return [f"Several categories are named {', '.join(repeated)}: they are trained as different ones."] * bool(repeated)
