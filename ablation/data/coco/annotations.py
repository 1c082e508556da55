"""Reading of COCO-format annotation files: what a valid one holds, or what is wrong with it. No torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple

from ablation.data.coco.keypoints import check_keypoint_names, check_keypoints, keypoint_names
from ablation.data.coco.remarks import find_remarks, is_trained_on
from ablation.data.coco.segmentations import check_segmentation
from ablation.data.coco.values import FARTHEST, FormatError, format_json, is_finite, is_integer, is_one_line, json_type
from ablation.records.errors import DataError
from ablation.scoring.matches import AREAS

_Entry = dict[str, Any]

_PARTS = {"mask": "segmentation", "keypoints": "keypoints"}
_MOST_PIXELS = 2**31  # more than Pillow reads; run lengths have 32 bits
_LONGEST = 250  # length over width; the built-in model resizes images to 128 pixels, of which a 257th is none


class ImageEntry(NamedTuple):
    """An image as the annotations describe it; width and height in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class AnnotationSummary:
    """The content of a valid annotation file. Crowds are not trained on, so they do not count in `has_*`.

    Attributes:
        fingerprint: Hash of the annotations and of the names and sizes in bytes of the images.
        images: Number of images.
        instances: Number of annotations.
        categories: Id and name of each, in the order of the ids.
        has_masks: Every instance has a segmentation.
        has_rle: Some segmentations are run-length encoded.
        has_keypoints: Every instance has keypoints.
        keypoints: Names of the keypoints, () if there are none.
        flips: Pairs of keypoints that are exchanged in a mirrored image.
        remarks: What is valid COCO but will not be trained on as it seems to be intended, with counts.
        counts_from_zero: An annotation has the id 0, which pycocotools takes for "not found" in an evaluation.
        entries: The images by id.
        objects: Number of objects to learn from by image id and category id.
        traits: Number of objects that a test counts, by image id, category id and trait: "small", "medium" or "large"
            (or two of them at their common bound), "no mask", "no keypoints".
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
    traits: Mapping[tuple[int, int, str], int] = field(default_factory=dict, repr=False, compare=False)


def read_annotations(path: Path, folder: Path) -> AnnotationSummary:
    """Read an annotation file whose images are in a folder.

    Raises:
        DataError: It is not COCO, or an image is missing; the message names the file, the place and what to do.
    """
    raw = _read(path)
    images, annotations, categories = _parse(raw, path)
    try:
        _check_each(categories, "category", _check_category)
        _check_each(images, "image", _check_image)
        by_id = {i["id"]: i for i in images}
        _check_annotations(annotations, by_id, {c["id"]: c for c in categories})
    except FormatError as error:
        raise DataError(f"{path}: {error}. Fix the file and repeat the command.") from error
    objects = Counter((a["image_id"], a["category_id"]) for a in annotations if is_trained_on(a, by_id[a["image_id"]]))
    if not objects:
        raise DataError(
            f"{path} contains no object to learn from: each is a crowd or has a box without an area in its image. Give "
            "a file with at least one."
        )
    digest = hashlib.sha256(raw)
    for name, size in _image_sizes(images, path, folder):
        digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
    instances = [a for a in annotations if not a.get("iscrowd")]
    segmentations = [a.get("segmentation") for a in instances]
    keypoints, flips = keypoint_names(categories)
    return AnnotationSummary(
        fingerprint=digest.hexdigest()[:16],
        images=len(images),
        instances=len(annotations),
        categories=tuple(sorted((c["id"], c["name"]) for c in categories)),
        has_masks=bool(segmentations) and all(segmentations),
        has_rle=any(isinstance(s, dict) for s in segmentations),
        has_keypoints=bool(keypoints) and all(a.get("keypoints") for a in instances),
        keypoints=keypoints,
        flips=flips,
        remarks=find_remarks(images, annotations, categories),
        counts_from_zero=any(a["id"] == 0 for a in annotations),
        entries={i["id"]: ImageEntry(i["file_name"], i["width"], i["height"]) for i in images},
        objects=objects,
        traits=Counter((a["image_id"], a["category_id"], trait) for a in instances for trait in _traits(a)),
    )


def _traits(annotation: _Entry) -> Iterator[str]:
    width, height = annotation["bbox"][2:]
    area = annotation.get("area", width * height)
    yield from (name for name, (low, high) in AREAS.items() if name != "all" and low <= area <= high)
    yield from (f"no {name}" for name, key in _PARTS.items() if not annotation.get(key))


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if S_ISREG(mode) or S_ISDIR(mode):  # reading a folder says that it is one; a pipe may never end
            return path.read_bytes()
        reason = "It is a pipe or a device"
    except (OSError, ValueError) as error:  # ValueError: a path that no file system allows
        reason = str(error.strerror if isinstance(error, OSError) else error)
    raise DataError(
        f"{path} cannot be read: {reason}. Give COCO files that exist (dataset.train_json, dataset.test_json)."
    )


def _parse(raw: bytes, path: Path) -> tuple[list[_Entry], list[_Entry], list[_Entry]]:
    """Return images, annotations and categories, each a list of objects whose keys are not checked yet."""
    try:
        data = json.loads(raw.decode("utf-8"))  # as pycocotools reads it; json alone would accept UTF-16
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {_explain(error, raw)}. Give a file in COCO format.") from error
    if not isinstance(data, dict):
        raise DataError(
            f"{path} is not COCO: expected an object with images, annotations and categories, "
            f"got {json_type(data)}. Give a file in COCO format."
        )
    for key in ("images", "annotations", "categories"):
        section = data.get(key)
        if not isinstance(section, list) or not all(isinstance(item, dict) for item in section):
            actual = f"got {json_type(section)}" if key in data else f"its keys are {format_json(list(data))}"
            raise DataError(
                f"{path} is not COCO: {key!r} must be a list of objects, {actual}. Give a file in COCO format."
            )
        if not section:
            raise DataError(f"{path} contains no {key}. Give a file with at least one.")
    return data["images"], data["annotations"], data["categories"]


def _explain(error: Exception, raw: bytes) -> str:
    """Return why bytes are not JSON, in words that do not speak of Python."""
    if raw.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        return "it is compressed and must be unpacked"
    if raw.startswith(b"\xef\xbb\xbf"):
        return "it starts with a byte order mark, which must not be there"
    match error:
        case UnicodeDecodeError():
            return f"byte {error.start + 1} of it is not UTF-8"
        case json.JSONDecodeError():
            return str(error)
        case RecursionError():
            return "lists or objects in it are nested too deeply"
        case _:
            return "a number in it has thousands of digits"


def _check_each(entries: list[_Entry], kind: str, check: Callable[[_Entry], None]) -> None:
    """Check that the ids are unique integers, then each entry; an error names the entry."""
    for entry in entries:
        if not is_integer(entry.get("id")):
            raise FormatError(f"an entry of {kind} has no integer id, got {format_json(entry.get('id'))}")
    repeated = [key for key, count in Counter(entry["id"] for entry in entries).items() if count > 1]
    if repeated:
        raise FormatError(f"{kind} id {repeated[0]} occurs more than once ({len(repeated)} such ids)")
    for entry in entries:
        try:
            check(entry)
        except FormatError as error:
            raise FormatError(f"{kind} {entry['id']} {error}") from error


def _check_category(category: _Entry) -> None:
    if not isinstance(category.get("name"), str):
        raise FormatError(f"has no name, got {format_json(category.get('name'))}")
    if not is_one_line(category["name"]):
        raise FormatError(
            f"must have a name in one line without control characters, got {format_json(category['name'])}"
        )
    check_keypoint_names(category)


def _check_image(image: _Entry) -> None:
    if not isinstance(image.get("file_name"), str):
        raise FormatError(f"has no file_name, got {format_json(image.get('file_name'))}")
    for side in ("width", "height"):
        if not (is_integer(image.get(side)) and image[side] > 0):
            raise FormatError(f"must have a {side} in pixels > 0, got {format_json(image.get(side))}")
    short, long = sorted((image["width"], image["height"]))
    if long > _LONGEST * short:
        raise FormatError(
            f"is {long} pixels long and {short} wide, but may be at most {_LONGEST} times as long as wide: resized, "
            "nothing is left of its width"
        )
    if long * short > _MOST_PIXELS:
        raise FormatError(f"must have at most {_MOST_PIXELS:,} pixels, got {long} x {short}")


def _check_annotations(
    annotations: list[_Entry], images: Mapping[int, _Entry], categories: Mapping[int, _Entry]
) -> None:
    points = 0  # keypoints of the object before: where no category names them, all objects have as many

    def check(annotation: _Entry) -> None:
        nonlocal points
        image_id: Any = annotation.get("image_id")
        category_id: Any = annotation.get("category_id")
        if not (is_integer(image_id) and image_id in images):
            raise FormatError(f"belongs to image_id {format_json(image_id)}, which is not among the images")
        if not (is_integer(category_id) and category_id in categories):
            raise FormatError(f"has category_id {format_json(category_id)}, which is not a category")
        _check_box(annotation)
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise FormatError(f"must have an iscrowd of 0 or 1, got {format_json(annotation['iscrowd'])}")
        if annotation.get("ignore", 0) != 0:
            raise FormatError(
                f"has ignore={format_json(annotation['ignore'])}, which detectron2 refuses; use iscrowd=1"
            )
        check_segmentation(annotation.get("segmentation"), images[image_id])
        if annotation.get("keypoints"):
            names = categories[category_id].get("keypoints") or ()
            points = check_keypoints(annotation["keypoints"], len(names) or points)

    _check_each(annotations, "annotation", check)
    if all(max(annotation["bbox"]) <= 1 for annotation in annotations):
        raise FormatError("every bbox lies within one pixel; boxes must be in pixels, not fractions of the image")


def _check_box(annotation: _Entry) -> None:
    box = annotation.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(is_finite(v) for v in box)):
        raise FormatError(
            f"must have a bbox [x, y, width, height] of numbers below {FARTHEST:,}, got {format_json(box)}"
        )
    if box[2] < 0 or box[3] < 0:
        raise FormatError(f"has a bbox of negative size, got {format_json(box)}")
    if "area" in annotation and not (is_finite(annotation["area"], FARTHEST**2) and annotation["area"] >= 0):
        raise FormatError(f"must have an area in pixels >= 0, got {format_json(annotation['area'])}")


def _image_sizes(images: list[_Entry], path: Path, folder: Path) -> list[tuple[str, int]]:
    sizes, missing = [], []
    for image in images:
        name, reason = image["file_name"], ""
        try:
            stat = (folder / name).stat()
            if S_ISREG(stat.st_mode):
                sizes.append((name, stat.st_size))
                continue
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that no file system allows
            pass
        except OSError as error:
            reason = f" ({error.strerror})"
        missing.append(format_json(name) + reason)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} images of {path} are not in {folder}, the first is {missing[0]}. Set the "
            "folder of the images (dataset.train_images, dataset.test_images)."
        )
    return sizes
