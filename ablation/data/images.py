"""The image files of a split, by their headers: size, orientation, kind of pixels, completeness. No torch."""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ablation.data.coco.annotations import ImageEntry
from ablation.data.coco.values import FormatError
from ablation.data.sampling import sample_ids
from ablation.records.errors import DataError

# About 0.1 ms each from a warm disk: 10,000 files take a second, so larger sets are sampled.
MOST_READ = 10_000

_ORIENTATION = 0x0112  # the tag of EXIF
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
_TIFF_PARTS = ((273, 279), (324, 325))  # tags: offsets and lengths of strips, of tiles
_ENDINGS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_HEAD, _TAIL = 1 << 14, 1 << 10  # bytes

# Each continues "2 of 10 images ..."; {} is the first of them.
_FAULTS = {
    "unreadable": "cannot be read, the first is {}. Fix or leave out these files.",
    "deep": "have 16 or 32 bits for each grey value, which detectron2 clips at 255; the first is {}. Scale them to 8 "
    "bits: one range for all images, such as that of the detector.",
    "differing": "differ in size from their annotations, the first: {}. detectron2 refuses them: set width and height, "
    "and the boxes with them, to those of the files.",
}
_REMARKS = {
    "rotated": "have an EXIF orientation, the first is {}: they are read upright, as a viewer shows them, and their "
    "annotations must be for the upright image.",
    "paged": "have several pages, the first is {}: only the first page is read.",
}


@dataclass(frozen=True)
class ImageScan:
    """The content of the image headers of a split.

    Attributes:
        read: Number of files that were read.
        remarks: What detectron2 reads in a way that may not be intended.
        signatures: Size in bytes and a checksum of the first bytes, by file name. Equal files have equal signatures.
    """

    read: int
    remarks: tuple[str, ...]
    signatures: Mapping[str, tuple[int, int]] = field(repr=False, compare=False)


def scan_images(entries: Mapping[int, ImageEntry], folder: Path, annotations: Path) -> ImageScan:
    """Read the headers of the images of a split, or of a sample of `MOST_READ` of them.

    Raises:
        DataError: An image cannot be read, differs in size from its annotation, or has pixels that detectron2 would
            clip.
    """
    ids = sample_ids(frozenset(entries), MOST_READ, seed=0, purpose="look")
    found: dict[str, list[str]] = defaultdict(list)  # images by kind of fault or remark
    signatures = {}
    for entry in (entries[i] for i in entries if i in ids):
        name = ascii(entry.name)
        try:
            header = _read_header(folder / entry.name)
        except Exception as error:  # a decoder may raise anything on a damaged file
            found["unreadable"].append(f"{name}: {describe_error(error)}")
            continue
        signatures[entry.name] = header.signature
        if header.mode.startswith("I") or header.mode == "F":
            found["deep"].append(name)
        if header.size != (entry.width, entry.height):
            found["differing"].append(f"{name} is {_format_size(header)}, not {entry.width} x {entry.height}")
        if header.orientation > 1:
            found["rotated"].append(name)
        if header.has_pages:
            found["paged"].append(name)
    for kind, fault in _FAULTS.items():
        if names := found[kind]:
            images = f"{len(names)} of {len(ids)} images of {annotations} in {folder}"
            raise DataError(f"{images} {fault.format(names[0])}")
    remarks = tuple(
        f"{len(found[kind])} of {len(ids)} images {remark.format(found[kind][0])}"
        for kind, remark in _REMARKS.items()
        if found[kind]
    )
    return ImageScan(len(ids), remarks, signatures)


def describe_error(error: Exception) -> str:
    """Return in one line why an image file cannot be read, in other words than Pillow's."""
    match error:
        case FormatError():
            return str(error)
        case UnidentifiedImageError():
            return "it is no image, damaged, or of an unknown format"
        case Image.DecompressionBombError():
            return "it has more pixels than Pillow reads"
        case OSError(strerror=str(reason)):
            return reason
        case _:
            return "it is truncated or damaged"


def same_files(
    files: Mapping[tuple[Path, str], tuple[int, int]], others: Mapping[tuple[Path, str], tuple[int, int]]
) -> list[tuple[Path, str]]:
    """Return the files of `others` with the same content as one of `files`. Both map folder and name to signatures."""
    shared = set(files.values()) & set(others.values())
    digests = {(s, _digest(*file)) for file, s in files.items() if s in shared}
    return [file for file, s in others.items() if s in shared and (s, _digest(*file)) in digests]


def _digest(folder: Path, name: str) -> bytes:
    return hashlib.sha256((folder / name).read_bytes()).digest()


@dataclass(frozen=True)
class _Header:
    """What decides how detectron2 reads an image.

    Attributes:
        size: Width and height in pixels as detectron2 reads them, upright.
        mode: Pillow's.
        orientation: That of EXIF, 1 to 8; 1 is upright.
        has_pages: There is more than one, of which the first is read.
        signature: Size in bytes and a checksum of the first bytes.
    """

    size: tuple[int, int]
    mode: str
    orientation: int
    has_pages: bool
    signature: tuple[int, int]


def _read_header(path: Path) -> _Header:
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd metadata and large images
        signature = (os.fstat(file.fileno()).st_size, zlib.crc32(file.read(_HEAD)))
        file.seek(0)
        with Image.open(file) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            width, height = image.size
            size = (height, width) if orientation in _SIDEWAYS else (width, height)
            # A JPEG of several pictures (MPO) is a photograph with previews.
            has_pages = image.format != "MPO" and bool(getattr(image, "is_animated", False))
            mode, orientation = image.mode, orientation if orientation in range(1, 9) else 1
            if not _is_complete(file, image):
                image.load()  # raises if something is missing
    return _Header(size, mode, orientation, has_pages, signature)


def _is_complete(file: BinaryIO, image: Image.Image) -> bool:
    """Return True if a file ends as its format does. If not, or if its end says nothing, decoding shows what lacks."""
    size = os.fstat(file.fileno()).st_size
    if isinstance(image, TiffImageFile):
        parts = [
            np.add(image.tag_v2[at], image.tag_v2[length]).max() for at, length in _TIFF_PARTS if at in image.tag_v2
        ]
        return bool(parts) and max(parts) <= size
    if image.format not in _ENDINGS:
        return False
    position = file.tell()
    file.seek(-min(_TAIL, size), os.SEEK_END)
    ending = file.read()
    file.seek(position)
    return _ENDINGS[image.format] in ending  # not at its very end: some cameras append data of their own


def _format_size(header: _Header) -> str:
    rotated = f" (turned upright by its EXIF orientation {header.orientation})" if header.orientation > 1 else ""
    return f"{header.size[0]} x {header.size[1]} pixels{rotated}"
