"""The semantic labels of a split, as detectron2's `sem_seg_file_name` wants them: a grey PNG for each image. No torch.

A pixel is the class of the stuff there, numbered from 0 on; detectron2's prepare_panoptic_fpn.py makes 0 of all things
together and 255 of what is not labelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ablation.data.coco.annotations import AnnotationSummary, ImageEntry, Split, check_annotations_file
from ablation.data.selection import sample_ids
from ablation.records.errors import DataError

# About 4 ms each for COCO's, since all pixels are read: 1,000 files are some seconds.
MOST_READ = 1_000


@dataclass(frozen=True)
class LabelScan:
    """What the label files of a split hold; read: how many were read, values: the pixel values in them, ascending."""

    read: int
    values: tuple[int, ...]


def label_file(split: Split, image: str) -> Path:
    """The labels of an image, by its file name in the annotations."""
    assert split.sem_seg is not None
    return split.sem_seg / Path(image).with_suffix(".png")


def fingerprint(split: Split) -> str:
    """Hash of the names and sizes in bytes of a checked split's label files.

    Raises:
        DataError: an image has none.
    """
    return _fingerprint(split, check_annotations_file(split))


def scan_labels(split: Split) -> LabelScan:
    """Read a checked split's label files, a sample where there are very many.

    Raises:
        DataError: a file that is missing or cannot be read, of another size than its image, or of other pixels than
            8 bits of grey.
    """
    fingerprint(split)
    return _look(split, check_annotations_file(split))


@lru_cache(maxsize=64)
def _fingerprint(split: Split, contents: AnnotationSummary) -> str:
    digest = hashlib.sha256()
    missing = []
    for entry in contents.entries.values():
        path = label_file(split, entry.name)
        if path.is_file():
            digest.update(f"{path.relative_to(split.sem_seg or '')}\0{path.stat().st_size}\0".encode(errors="replace"))
        else:
            missing.append(path.name)
    _refuse(missing, len(contents.entries), split, "have no semantic labels", "Make the PNG file of each image")
    return digest.hexdigest()[:12]


@lru_cache(maxsize=64)
def _look(split: Split, contents: AnnotationSummary) -> LabelScan:
    ids = frozenset(contents.entries)
    ids = ids if len(ids) <= MOST_READ else sample_ids(ids, MOST_READ, seed=0, purpose="labels")
    faults = []
    values: set[int] = set()
    for entry in (contents.entries[i] for i in sorted(ids)):
        found = _values(label_file(split, entry.name), entry)
        if isinstance(found, str):
            faults.append(f"{entry.name!a}: {found}")
        else:
            values.update(found)
    _refuse(faults, len(ids), split, "have labels that cannot be used", "Give 8-bit grey PNG files of the image's size")
    return LabelScan(len(ids), tuple(sorted(values)))


def _values(path: Path, entry: ImageEntry) -> Iterable[int] | str:
    """The distinct pixel values of a label file, or in words what is wrong with it."""
    try:
        with Image.open(path) as image:
            if image.size != (entry.width, entry.height):
                return f"its labels are {image.width} x {image.height} pixels, not {entry.width} x {entry.height}"
            if image.mode != "L":
                return (
                    f"its labels are of Pillow's mode {image.mode}, not L, of which detectron2 would make other values"
                )
            counts = np.bincount(np.asarray(image).ravel(), minlength=256)
            return map(int, np.flatnonzero(counts))
    except UnidentifiedImageError:  # its own message is the repr of a file object
        return "its labels are no image, or of an unknown format"
    except Exception as error:  # whatever a decoder makes of a file that is none
        return str(error).partition("\n")[0] or type(error).__name__


def _refuse(faults: list[str], of: int, split: Split, what: str, advice: str) -> None:
    if faults:
        raise DataError(
            f"{len(faults)} of {of} images of {split.annotations} {what} in {split.sem_seg}; the first is {faults[0]}. "
            f"{advice}, as detectron2's prepare_panoptic_fpn.py does."
        )
