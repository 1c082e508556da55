"""What a COCO-format annotation file must be, and what one that is right holds. No torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

from ablation.datasets.remarks import is_trained_on, remarks
from ablation.errors import DataError


@dataclass(frozen=True)
class Split:
    """One COCO annotation file, the folder that its file names start from, and that of semantic labels, if any."""

    annotations: Path
    images: Path
    sem_seg: Path | None = None


class Entry(NamedTuple):
    """An image as the annotations have it; width and height in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Contents:
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
    entries: Mapping[int, Entry] = field(default_factory=dict, repr=False, compare=False)
    objects: Mapping[tuple[int, int], int] = field(default_factory=dict, repr=False, compare=False)


def check(split: Split) -> Contents:
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
def _check(split: Split, _modified: int, _size: int) -> Contents:
    raw = _read(split.annotations)
    data = _parsed(raw, split.annotations)
    images, annotations, categories = (
        _section(data, key, split.annotations) for key in ("images", "annotations", "categories")
    )
    refuse = _Refusal(split.annotations)
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
    keypoints, flips = _keypoints(categories)
    return Contents(
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
        entries={i["id"]: Entry(i["file_name"], i["width"], i["height"]) for i in images},
        objects=objects,
    )


@dataclass(frozen=True)
class _Refusal:
    path: Path

    def __call__(self, where: str, problem: str) -> DataError:
        return DataError(f"{self.path}: {where} {problem}. Mend the file and repeat the command.")


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
            f"got {_kind(data)}. Give a file in COCO format."
        )
    return data


def _section(data: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    section = data.get(key)
    if not isinstance(section, list) or not all(isinstance(item, dict) for item in section):
        given = f"got {_kind(section)}" if key in data else f"its keys are {_shown(list(data))}"
        raise DataError(f"{path} is not COCO: {key!r} must be a list of objects, {given}. Give a file in COCO format.")
    if not section:
        raise DataError(f"{path} holds no {key}. Give a file with at least one.")
    return section


def _check_categories(categories: list[dict[str, Any]], refuse: _Refusal) -> dict[int, str]:
    _check_ids(categories, "category", refuse)
    for category in categories:
        if not isinstance(category.get("name"), str):
            raise refuse(f"category {category['id']}", f"has no name, got {_shown(category.get('name'))}")
        _check_keypoint_names(category, refuse)
    return {c["id"]: c["name"] for c in categories}


def _check_images(images: list[dict[str, Any]], refuse: _Refusal) -> None:
    _check_ids(images, "image", refuse)
    for image in images:
        where = f"image {image['id']}"
        if not isinstance(image.get("file_name"), str):
            raise refuse(where, f"has no file_name, got {_shown(image.get('file_name'))}")
        for side in ("width", "height"):
            if not (_is_integer(image.get(side)) and image[side] > 0):
                raise refuse(where, f"must have a {side} in pixels > 0, got {_shown(image.get(side))}")


def _check_annotations(
    annotations: list[dict[str, Any]],
    images: dict[int, dict[str, Any]],
    categories: dict[int, dict[str, Any]],
    refuse: _Refusal,
) -> None:
    _check_ids(annotations, "annotation", refuse)
    points = 0
    for annotation in annotations:
        where, image_id = f"annotation {annotation['id']}", annotation.get("image_id")
        if not (_is_integer(image_id) and image_id in images):
            raise refuse(where, f"belongs to image_id {_shown(image_id)}, which is not among the images")
        if not (_is_integer(annotation.get("category_id")) and annotation["category_id"] in categories):
            raise refuse(where, f"has category_id {_shown(annotation.get('category_id'))}, which is not a category")
        box = annotation.get("bbox")
        if not (isinstance(box, list) and len(box) == 4 and all(_is_finite(v) for v in box)):
            raise refuse(where, f"must have a bbox [x, y, width, height] of finite numbers, got {_shown(box)}")
        if box[2] < 0 or box[3] < 0:
            raise refuse(where, f"has a bbox of negative size, got {_shown(box)}")
        if "area" in annotation and not (_is_finite(annotation["area"]) and annotation["area"] >= 0):
            raise refuse(where, f"must have an area in pixels >= 0, got {_shown(annotation['area'])}")
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise refuse(where, f"must have an iscrowd of 0 or 1, got {_shown(annotation['iscrowd'])}")
        if annotation.get("ignore", 0) != 0:
            raise refuse(where, f"has ignore={_shown(annotation['ignore'])}, which detectron2 refuses (iscrowd: 1 is)")
        _check_segmentation(annotation.get("segmentation"), images[image_id], where, refuse)
        if annotation.get("keypoints"):
            names = categories[annotation["category_id"]].get("keypoints") or ()
            points = _check_keypoints(annotation["keypoints"], len(names) or points, where, refuse)
    if all(max(annotation["bbox"]) <= 1 for annotation in annotations):
        raise refuse("every bbox", "lies within one pixel; they are pixels, not shares of the image")


def _check_segmentation(segmentation: object, image: dict[str, Any], where: str, refuse: _Refusal) -> None:
    if segmentation is None or segmentation == []:
        return
    if isinstance(segmentation, dict):
        _check_rle(segmentation, image, where, refuse)
        return
    if not isinstance(segmentation, list):
        raise refuse(where, f"must have polygons or RLE as segmentation, got {_kind(segmentation)}")
    for polygon in segmentation:
        if not (isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0):
            raise refuse(where, "has a polygon that is not a list of at least three x, y pairs")
        if not _are_finite(polygon):
            raise refuse(where, "has a polygon with a value that is not a finite number")


def _check_rle(rle: dict[str, Any], image: dict[str, Any], where: str, refuse: _Refusal) -> None:
    counts, size = rle.get("counts"), rle.get("size")
    expected = [image["height"], image["width"]]
    if size != expected:
        raise refuse(where, f"has an RLE of size {_shown(size)}, but its image has [height, width] {expected}")
    if isinstance(counts, list):
        # decoding trusts the runs; a wrong sum reads or leaves pixels that are not the image's
        if not all(_is_integer(v) and v >= 0 for v in counts) or sum(counts) != expected[0] * expected[1]:
            raise refuse(where, f"has RLE counts that are not whole numbers >= 0 of sum {expected[0] * expected[1]}")
    elif not (isinstance(counts, str) and counts and counts.isascii()):
        raise refuse(where, f"must have RLE counts as a string or a list of runs, got {_kind(counts)}")
    elif not _covers(counts, expected[0] * expected[1]):
        raise refuse(where, f"has RLE counts that do not decode to {expected[0] * expected[1]} pixels")


def _covers(counts: str, pixels: int) -> bool:
    """Whether COCO's compressed run lengths are whole and sum to the pixels of the image.

    pycocotools would decode anything, past the end of its memory. Each run is a number in groups of five bits, lowest
    first, in characters from "0" on whose sixth bit says that there are more; from the fourth run on it is the
    difference to the run before the previous one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > 25:
            return False
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            return False
        value = shift = 0
    return shift == 0 and sum(runs) == pixels


def _check_keypoints(keypoints: object, points: int, where: str, refuse: _Refusal) -> int:
    """How many there are; points: how many are expected, 0 where nothing says so."""
    if not (isinstance(keypoints, list) and len(keypoints) % 3 == 0 and _are_finite(keypoints)):
        raise refuse(where, "must have keypoints as a list of x, y and visibility for each, all finite numbers")
    if points and len(keypoints) != 3 * points:
        raise refuse(where, f"has {len(keypoints) // 3} keypoints, where {points} are expected")
    if not set(keypoints[2::3]) <= {0, 1, 2}:
        raise refuse(where, "has a keypoint whose visibility is not 0, 1 or 2")
    return len(keypoints) // 3


def _check_keypoint_names(category: dict[str, Any], refuse: _Refusal) -> None:
    where, names = f"category {category['id']}", category.get("keypoints") or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)):
        raise refuse(where, f"must have keypoints as a list of distinct names, got {_shown(names)}")
    flips = category.get("keypoint_flip_map") or []
    if not (isinstance(flips, list) and all(isinstance(f, list) and len(f) == 2 for f in flips)):
        raise refuse(where, f"must have a keypoint_flip_map as a list of pairs of keypoints, got {_shown(flips)}")
    if unknown := [name for pair in flips for name in pair if name not in names]:
        raise refuse(where, f"has a keypoint_flip_map with {_shown(unknown[0])}, which is not one of its keypoints")


def _keypoints(categories: list[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Names and mirror pairs of the first category that has keypoints; left_ and right_ belong together."""
    category = next((c for c in categories if c.get("keypoints")), {})
    names = tuple(category.get("keypoints", ()))
    twins = [(name, name.replace("left", "right")) for name in names if "left" in name]
    flips = category.get("keypoint_flip_map") or [pair for pair in twins if pair[1] in names]
    return names, tuple((left, right) for left, right in flips)


def _check_ids(items: list[dict[str, Any]], kind: str, refuse: _Refusal) -> None:
    for item in items:
        if not _is_integer(item.get("id")):
            raise refuse(f"an entry of {kind}", f"has no integer id, got {_shown(item.get('id'))}")
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
            f"the first is {_shown(missing[0])}. Set the folder of the images (dataset.train_images, "
            "dataset.test_images)."
        )


def _is_integer(value: object) -> bool:
    # Integers of JSON have no limit; those of COCO's tools have 63 bits.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _are_finite(values: list[Any]) -> bool:
    """As `_is_finite` for each of at least one, ten times as fast: a data set has millions of points."""
    if not set(map(type, values)) <= {int, float}:
        return False
    return min(values) > -1e9 and max(values) < 1e9 and math.isfinite(sum(values))


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    """A value of the file, short and printable, whatever it is."""
    try:
        return _shortened(ascii(value))
    except RecursionError:
        return _kind(value)


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."
