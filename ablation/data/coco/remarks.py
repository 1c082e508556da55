"""What COCO allows in annotations and a training will not take as it seems to be meant: counted, not refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

# detectron2 cuts boxes at the edges; COCO's own reach over them by a rounded fraction.
_TOLERANCE = 1.0  # pixels
_SLENDER = 50  # length over width; resized to its longest side, such an image keeps hardly a pixel of width

_MEANINGS = {
    "empty": "have a box without an area in their image: no training sees them, and no test finds them",
    "outside": "have a box that reaches over the edge of their image: a training sees the part inside "
    "(bbox is [x, y, width, height])",
    "area": "have an area that is 0 or larger than their box: they count for a wrong size in APs, APm and APl",
    "polygon": "have a polygon that reaches over the edge of their image: a training sees the part inside",
    "mask": "have a mask that does not fit their box",
    "keypoints": "have a num_keypoints other than the number of their labelled keypoints",
}


def remarks(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]
) -> tuple[str, ...]:
    """One sentence for each kind of doubt about annotations that are valid COCO, with its count and first place."""
    by_id = {image["id"]: image for image in images}
    found: dict[str, list[int]] = {kind: [] for kind in _MEANINGS}
    for annotation in annotations:
        for kind in _doubts(annotation, by_id[annotation["image_id"]]):
            found[kind].append(annotation["id"])
    told = [
        f"{len(ids)} of {len(annotations)} objects {_MEANINGS[kind]}; the first is annotation {ids[0]}."
        for kind, ids in found.items()
        if ids
    ]
    return (*told, *_of_parts(annotations), *_of_images(images), *_of_categories(categories))


def is_trained_on(annotation: dict[str, Any], image: dict[str, Any]) -> bool:
    """Whether detectron2 trains on an object: it is not a crowd, and its box has an area inside the image."""
    x, y, width, height = annotation["bbox"]
    is_inside = min(x + width, image["width"]) > max(x, 0) and min(y + height, image["height"]) > max(y, 0)
    return not annotation.get("iscrowd") and is_inside


def _doubts(annotation: dict[str, Any], image: dict[str, Any]) -> list[str]:
    if annotation.get("iscrowd"):
        return []
    if not is_trained_on(annotation, image):
        return ["empty"]
    x, y, width, height = annotation["bbox"]
    box = (x, y, x + width, y + height)
    kinds = ["outside"] if _reaches_over(box, image) else []
    if not 0 < annotation.get("area", 1) <= (width + _TOLERANCE) * (height + _TOLERANCE):
        kinds.append("area")
    polygons = annotation.get("segmentation")
    if isinstance(polygons, list) and polygons:
        xs = [value for polygon in polygons for value in polygon[0::2]]
        ys = [value for polygon in polygons for value in polygon[1::2]]
        extent = (min(xs), min(ys), max(xs), max(ys))
        if _reaches_over(extent, image) and "outside" not in kinds:
            kinds.append("polygon")
        allowed = 2 * _TOLERANCE + 0.1 * max(width, height)
        if any(abs(a - b) > allowed for a, b in zip(extent, box, strict=True)):
            kinds.append("mask")
    keypoints = annotation.get("keypoints") or []
    labelled = sum(visibility > 0 for visibility in keypoints[2::3])
    if keypoints and annotation.get("num_keypoints", labelled) != labelled:
        kinds.append("keypoints")
    return kinds


def _reaches_over(box: tuple[float, float, float, float], image: dict[str, Any]) -> bool:
    """box: x1, y1, x2, y2 in pixels."""
    is_left = min(box[0], box[1]) < -_TOLERANCE
    return is_left or box[2] > image["width"] + _TOLERANCE or box[3] > image["height"] + _TOLERANCE


def _of_parts(annotations: list[dict[str, Any]]) -> list[str]:
    """What only some objects have: a training needs it of all, so it does without."""
    objects = [a for a in annotations if not a.get("iscrowd")]
    told = []
    for key, name, consequence in (
        ("segmentation", "mask", "so masks are neither trained on nor scored"),
        ("keypoints", "keypoints", "so keypoints are neither trained on nor scored"),
    ):
        without = sum(not a.get(key) for a in objects)
        if 0 < without < len(objects):
            told.append(f"{without} of {len(objects)} objects have no {name}, {consequence}.")
    crowds = [a for a in annotations if a.get("iscrowd")]
    bare = sum(not a.get("segmentation") for a in crowds)
    if bare and any(a.get("segmentation") for a in objects):
        told.append(f"{bare} of {len(crowds)} crowds have no mask, so each covers its box where masks are scored.")
    return told


def _of_images(images: list[dict[str, Any]]) -> list[str]:
    told = []
    names = Counter(image["file_name"] for image in images)
    if repeated := [name for name, count in names.items() if count > 1]:
        told.append(
            f"{len(repeated)} of {len(names)} files stand under several image ids, the first is {repeated[0]!a}: "
            "each time only a part of their objects is known."
        )
    slender = [i for i in images if max(i["width"], i["height"]) > _SLENDER * min(i["width"], i["height"])]
    if slender:
        told.append(
            f"{len(slender)} of {len(images)} images are more than {_SLENDER} times as long as wide, the first is "
            f"{slender[0]['file_name']!a}: resized, hardly a pixel of their width is left."
        )
    return told


def _of_categories(categories: list[dict[str, Any]]) -> list[str]:
    names = Counter(category["name"] for category in categories)
    repeated = sorted(ascii(name) for name, count in names.items() if count > 1)
    return [f"Several categories are named {', '.join(repeated)}: they are trained as different ones."] * bool(repeated)
