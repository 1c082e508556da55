"""Semantic labels as detectron2's `sem_seg_file_name` expects them: one grey PNG for each image. No torch.

A pixel value is a class of stuff, counted from 0. Files made by detectron2's prepare_panoptic_fpn.py use 0 for all
things together and 255 for unlabelled pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ablation.data.coco.annotations import ImageEntry
from ablation.data.coco.values import FormatError
from ablation.data.images import describe_error
from ablation.data.sampling import sample_ids
from ablation.records.errors import DataError

# All pixels of a file are read, 4 ms for one of COCO's: 1,000 files take some seconds.
MOST_READ = 1_000


@dataclass(frozen=True)
class LabelScan:
    """The content of the label files of a split.

    Attributes:
        read: Number of files that were read.
        values: The distinct pixel values in them, in ascending order.
    """

    read: int
    values: tuple[int, ...]


def label_file(folder: Path, image: str) -> Path:
    """Return the label file of an image from the image's file name in the annotations."""
    return folder / Path(image).with_suffix(".png")


def fingerprint_labels(entries: Mapping[int, ImageEntry], folder: Path, annotations: Path) -> str:
    """Return a hash of the names and sizes in bytes of the label files.

    Raises:
        DataError: An image has no label file.
    """
    digest = hashlib.sha256()
    missing = []
    for entry in entries.values():
        path = label_file(folder, entry.name)
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on a long name
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode(errors="replace"))
        else:
            missing.append(path.name)
    problem = f"of {len(entries)} images of {annotations} have no semantic labels in {folder}"
    _refuse(missing, problem, "Make the PNG file of each image")
    return digest.hexdigest()[:12]


def scan_labels(entries: Mapping[int, ImageEntry], folder: Path, annotations: Path) -> LabelScan:
    """Read the label files of a split, or a sample of `MOST_READ` of them.

    Raises:
        DataError: A file is unreadable, of another size than its image or not 8-bit grey.
    """
    ids = sample_ids(frozenset(entries), MOST_READ, seed=0, purpose="labels")
    faults = []
    values: set[int] = set()
    for entry in (entries[i] for i in sorted(ids)):
        try:
            values.update(_read_values(label_file(folder, entry.name), entry))
        except Exception as error:  # a decoder may raise anything on a damaged file
            faults.append(f"labels of {entry.name!a}: {describe_error(error)}")
    problem = f"of {len(ids)} images of {annotations} have labels that cannot be used in {folder}"
    _refuse(faults, problem, "Give 8-bit grey PNG files of the image's size")
    return LabelScan(len(ids), tuple(sorted(values)))


def _read_values(path: Path, entry: ImageEntry) -> Iterable[int]:
    with Image.open(path) as image:
        if image.size != (entry.width, entry.height):
            raise FormatError(f"they are {image.width} x {image.height} pixels, not {entry.width} x {entry.height}")
        if image.mode != "L":
            raise FormatError(
                f"they are of Pillow's mode {image.mode}, not L; detectron2 would read them as other values"
            )
        return [value for value, count in enumerate(image.histogram()) if count]


def _refuse(faults: Sequence[str], problem: str, advice: str) -> None:
    if faults:
        raise DataError(
            f"{len(faults)} {problem}; the first is {faults[0]}. {advice}, as detectron2's prepare_panoptic_fpn.py "
            "does."
        )
