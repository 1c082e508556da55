"""What a COCO-format annotation file must be, and what one that is right holds. No torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

from ablation.data.coco.keypoints import check_keypoint_names, check_keypoints, keypoint_names
from ablation.data.coco.remarks import is_trained_on, remarks
from ablation.data.coco.segmentations import check_segmentation
from ablation.data.coco.values import Refusal, is_finite, is_integer, kind_of, shown
from ablation.records.errors import DataError


@dataclass(frozen=True)
class Split:
    """One COCO annotation file, the folder that its file names start from, and that of semantic labels, if any."""

    annotations: Path
    images: Path
    sem_seg: Path | None = None


class ImageEntry(NamedTuple):
    """An image as the annotations have it; width and height in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class AnnotationSummary:
    """What a checked split holds.

    fingerprint: hash of the annotations and of the names and sizes in bytes of the images.
    images, instances: counts; categories: id and name, in the order of the ids.
    has_masks: every instance has a segmentation; has_rle: some are run-length encoded; has_keypoints: every instance
    has keypoints; crowds, which nobody trains on, do not count.
    keypoints: their names, () where they have none; flips: pairs of them that change places in a mirror.
    remarks: what COCO allows and a training will not take as it seems to be meant, with counts.
    counts_from_zero: an annotation has the id 0, which pycocotools takes for "not found" in an evaluation.
    entries: the images by id; objects: how many a training can learn from, by image id and category id.
    """

    fingerprint: str
    images: int
    instances: int
    categories: tuple[tuple[int, str], ...]
    has_masks: bool
    has_rle: bool
    has_keypoints: bool = False
    keypoints: tuple[str, ...] = ()
    flips: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    counts_from_zero: bool = False
    entries: Mapping[int, ImageEntry] = field(default_factory=dict, repr=False, compare=False)
    objects: Mapping[tuple[int, int], int] = field(default_factory=dict, repr=False, compare=False)


def check_annotations_file(split: Split) -> AnnotationSummary:
    """Read a split and refuse what is not COCO.

    Raises:
        DataError: naming the file, what is wrong with it and what to do.
    """
    try:
        stat = split.annotations.stat()
    except (OSError, ValueError) as error:  # ValueError: a path that no file system allows
        raise _unreadable(split.annotations, error) from error
    return _check(split, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _check(split: Split, _modified: int, _size: int) -> AnnotationSummary:
    raw = _read(split.annotations)
    data = _parsed(raw, split.annotations)
    images, annotations, categories = (
        _section(data, key, split.annotations) for key in ("images", "annotations", "categories")
    )
    refuse = Refusal(split.annotations)
    names = _check_categories(categories, refuse)
    _check_images(images, refuse)
    by_id = {i["id"]: i for i in images}
    _check_annotations(annotations, by_id, {c["id"]: c for c in categories}, refuse)
    objects = Counter((a["image_id"], a["category_id"]) for a in annotations if is_trained_on(a, by_id[a["image_id"]]))
    if not objects:
        raise DataError(
            f"{split.annotations} holds no object to learn from: every one is a crowd or has a box without an area in "
            "its image. Give a file with at least one."
        )
    digest = hashlib.sha256(raw)
    for name, size in _image_sizes(images, split):
        digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
    instances = [a for a in annotations if not a.get("iscrowd")]
    segmentations = [a.get("segmentation") for a in instances]
    keypoints, flips = keypoint_names(categories)
    return AnnotationSummary(
        fingerprint=digest.hexdigest()[:16],
        images=len(images),
        instances=len(annotations),
        categories=tuple(sorted(names.items())),
        has_masks=bool(segmentations) and all(segmentations),
        has_rle=any(isinstance(s, dict) for s in segmentations),
        has_keypoints=bool(keypoints) and all(a.get("keypoints") for a in instances),
        keypoints=keypoints,
        flips=flips,
        remarks=remarks(images, annotations, categories),
        counts_from_zero=any(a["id"] == 0 for a in annotations),
        entries={i["id"]: ImageEntry(i["file_name"], i["width"], i["height"]) for i in images},
        objects=objects,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | ValueError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(
        f"{path} cannot be read: {reason}. Give COCO files that exist (dataset.train_json, dataset.test_json)."
    )


def _parsed(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(raw.decode("utf-8"))  # as pycocotools reads it; json alone would take UTF-16 too
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}. Give a file in COCO format.") from error
    if not isinstance(data, dict):
        raise DataError(
            f"{path} is not COCO: expected an object with images, annotations and categories, "
            f"got {kind_of(data)}. Give a file in COCO format."
        )
    return data


def _section(data: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    section = data.get(key)
    if not isinstance(section, list) or not all(isinstance(item, dict) for item in section):
        given = f"got {kind_of(section)}" if key in data else f"its keys are {shown(list(data))}"
        raise DataError(f"{path} is not COCO: {key!r} must be a list of objects, {given}. Give a file in COCO format.")
    if not section:
        raise DataError(f"{path} holds no {key}. Give a file with at least one.")
    return section


def _check_categories(categories: list[dict[str, Any]], refuse: Refusal) -> dict[int, str]:
    _check_ids(categories, "category", refuse)
    for category in categories:
        if not isinstance(category.get("name"), str):
            raise refuse(f"category {category['id']}", f"has no name, got {shown(category.get('name'))}")
        check_keypoint_names(category, refuse)
    return {c["id"]: c["name"] for c in categories}


def _check_images(images: list[dict[str, Any]], refuse: Refusal) -> None:
    _check_ids(images, "image", refuse)
    for image in images:
        where = f"image {image['id']}"
        if not isinstance(image.get("file_name"), str):
            raise refuse(where, f"has no file_name, got {shown(image.get('file_name'))}")
        for side in ("width", "height"):
            if not (is_integer(image.get(side)) and image[side] > 0):
                raise refuse(where, f"must have a {side} in pixels > 0, got {shown(image.get(side))}")


def _check_annotations(
    annotations: list[dict[str, Any]],
    images: dict[int, dict[str, Any]],
    categories: dict[int, dict[str, Any]],
    refuse: Refusal,
) -> None:
    _check_ids(annotations, "annotation", refuse)
    points = 0
    for annotation in annotations:
        where, image_id = f"annotation {annotation['id']}", annotation.get("image_id")
        if not (is_integer(image_id) and image_id in images):
            raise refuse(where, f"belongs to image_id {shown(image_id)}, which is not among the images")
        if not (is_integer(annotation.get("category_id")) and annotation["category_id"] in categories):
            raise refuse(where, f"has category_id {shown(annotation.get('category_id'))}, which is not a category")
        box = annotation.get("bbox")
        if not (isinstance(box, list) and len(box) == 4 and all(is_finite(v) for v in box)):
            raise refuse(where, f"must have a bbox [x, y, width, height] of finite numbers, got {shown(box)}")
        if box[2] < 0 or box[3] < 0:
            raise refuse(where, f"has a bbox of negative size, got {shown(box)}")
        if "area" in annotation and not (is_finite(annotation["area"]) and annotation["area"] >= 0):
            raise refuse(where, f"must have an area in pixels >= 0, got {shown(annotation['area'])}")
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise refuse(where, f"must have an iscrowd of 0 or 1, got {shown(annotation['iscrowd'])}")
        if annotation.get("ignore", 0) != 0:
            raise refuse(where, f"has ignore={shown(annotation['ignore'])}, which detectron2 refuses (iscrowd: 1 is)")
        check_segmentation(annotation.get("segmentation"), images[image_id], where, refuse)
        if annotation.get("keypoints"):
            names = categories[annotation["category_id"]].get("keypoints") or ()
            points = check_keypoints(annotation["keypoints"], len(names) or points, where, refuse)
    if all(max(annotation["bbox"]) <= 1 for annotation in annotations):
        raise refuse("every bbox", "lies within one pixel; they are pixels, not shares of the image")


def _check_ids(items: list[dict[str, Any]], kind: str, refuse: Refusal) -> None:
    for item in items:
        if not is_integer(item.get("id")):
            raise refuse(f"an entry of {kind}", f"has no integer id, got {shown(item.get('id'))}")
    repeated = [key for key, count in Counter(item["id"] for item in items).items() if count > 1]
    if repeated:
        raise refuse(f"{kind} id {repeated[0]}", f"stands there more than once ({len(repeated)} such ids)")


def _image_sizes(images: list[dict[str, Any]], split: Split) -> Iterable[tuple[str, int]]:
    missing = []
    for image in images:
        name = image["file_name"]
        try:
            stat = (split.images / name).stat()
        except (OSError, ValueError):  # ValueError: a name that no file system allows
            missing.append(name)
            continue
        if S_ISREG(stat.st_mode):
            yield name, stat.st_size
        else:
            missing.append(name)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} images of {split.annotations} are not in {split.images}, "
            f"the first is {shown(missing[0])}. Set the folder of the images (dataset.train_images, "
            "dataset.test_images)."
        )
