"""What the image files of a split are, by their headers: size, orientation, kind of pixels, wholeness. No torch."""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ablation.data.coco.annotations import AnnotationSummary, ImageEntry, Split, check_annotations_file
from ablation.data.selection import sample_ids
from ablation.records.errors import DataError

# About 0.1 ms each from a warm disk, so a larger set is sampled: 10,000 files are a second.
MOST_READ = 10_000

_ORIENTATION = 0x0112  # the tag of EXIF
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
_ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_HEAD, _TAIL = 1 << 14, 1 << 10  # bytes


@dataclass(frozen=True)
class ImageScan:
    """What the files of a split look like.

    read: how many were read; remarks: on what detectron2 reads in a way that may not be meant.
    signatures: size in bytes and a checksum of the first bytes, by file name: equal files have equal ones.
    """

    read: int
    remarks: tuple[str, ...]
    signatures: Mapping[str, tuple[int, int]] = field(repr=False, compare=False)


def scan_images(split: Split) -> ImageScan:
    """Read the headers of a checked split's images, of a sample where there are very many.

    Raises:
        DataError: an image that cannot be read, whose size is not that of the annotations, or whose pixels detectron2
            would cut off.
    """
    return _look(split, check_annotations_file(split))


@lru_cache(maxsize=64)
def _look(split: Split, contents: AnnotationSummary) -> ImageScan:
    entries = contents.entries
    ids = entries if len(entries) <= MOST_READ else sample_ids(frozenset(entries), MOST_READ, seed=0, purpose="look")
    faults: dict[str, list[str]] = {"unreadable": [], "size": [], "deep": []}
    doubts: dict[str, list[str]] = {"turned": [], "pages": []}
    signatures = {}
    for entry in (entries[i] for i in entries if i in ids):
        header = _header(split.images / entry.name)
        if isinstance(header, str):
            faults["unreadable"].append(f"{entry.name!a}: {header}")
            continue
        signatures[entry.name] = header.signature
        if header.mode.startswith("I") or header.mode == "F":
            faults["deep"].append(ascii(entry.name))
        if header.size != (entry.width, entry.height):
            faults["size"].append(_differing(entry, header))
        if header.orientation > 1:
            doubts["turned"].append(ascii(entry.name))
        if header.has_pages:
            doubts["pages"].append(ascii(entry.name))
    _refuse(faults, f"of {len(ids)} images of {split.annotations} in {split.images}")
    return ImageScan(len(ids), tuple(_remarks(doubts, len(ids))), signatures)


def same_files(
    one: Mapping[tuple[Path, str], tuple[int, int]], other: Mapping[tuple[Path, str], tuple[int, int]]
) -> list[tuple[Path, str]]:
    """The files of `other` that have the content of a file of `one`; both map folder and name to signatures."""
    candidates: dict[tuple[int, int], list[tuple[Path, str]]] = {}
    for path, signature in one.items():
        candidates.setdefault(signature, []).append(path)
    shared = candidates.keys() & set(other.values())
    digests = {signature: {_digest(path) for path in candidates[signature]} for signature in shared}
    return [path for path, signature in other.items() if signature in digests and _digest(path) in digests[signature]]


@dataclass(frozen=True)
class _Header:
    """size: width and height in pixels as detectron2 reads them; orientation: of EXIF, 1 is upright."""

    size: tuple[int, int]
    mode: str
    orientation: int
    has_pages: bool
    signature: tuple[int, int]


def _header(path: Path) -> _Header | str:
    """The header of an image file, or in words why it cannot be read."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on odd metadata and large images
            checksum = zlib.crc32(file.read(_HEAD))
            file.seek(0)
            with Image.open(file) as image:
                header = _described(image, (os.fstat(file.fileno()).st_size, checksum))
                if not _is_whole(file, image.format or ""):
                    image.load()
        return header
    except UnidentifiedImageError:  # its own message is the repr of a file object
        return "it is no image, or of an unknown format"
    except Exception as error:  # whatever a decoder makes of a file that is none
        return str(error).partition("\n")[0] or type(error).__name__


def _described(image: Image.Image, signature: tuple[int, int]) -> _Header:
    orientation = image.getexif().get(_ORIENTATION, 1)
    width, height = image.size
    size = (height, width) if orientation in _SIDEWAYS else (width, height)
    # A JPEG of several pictures (MPO) is a photograph with previews.
    has_pages = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return _Header(size, image.mode, orientation if orientation in range(1, 9) else 1, has_pages, signature)


def _is_whole(file: BinaryIO, kind: str) -> bool:
    """Whether a file ends as its format does; one that does not may be whole, so it is decoded to find out."""
    if kind not in _ENDINGS:
        return True
    position = file.tell()
    file.seek(-min(_TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
    ending = file.read()
    file.seek(position)
    return _ENDINGS[kind] in ending  # some cameras write on behind it


def _differing(entry: ImageEntry, header: _Header) -> str:
    turned = f" (turned upright by its EXIF orientation {header.orientation})" if header.orientation > 1 else ""
    width, height = header.size
    return f"{entry.name!a} is {width} x {height} pixels{turned}, not {entry.width} x {entry.height}"


def _refuse(faults: Mapping[str, list[str]], of: str) -> None:
    if names := faults["unreadable"]:
        raise DataError(f"{len(names)} {of} cannot be read, the first is {names[0]}. Mend or leave out these files.")
    if names := faults["deep"]:
        raise DataError(
            f"{len(names)} {of} have 16 or 32 bits for each grey value, which detectron2 cuts off at 255; the first is "
            f"{names[0]}. Scale them to 8 bits: one range for all images, such as that of the detector."
        )
    if names := faults["size"]:
        raise DataError(
            f"{len(names)} {of} have another size than in the annotations, the first: {names[0]}. detectron2 refuses "
            "them: set width and height, and the boxes with them, to what the files are."
        )


def _remarks(doubts: Mapping[str, list[str]], read: int) -> Iterable[str]:
    if names := doubts["turned"]:
        yield (
            f"{len(names)} of {read} images have an EXIF orientation, the first is {names[0]}: they are read "
            "upright, as a viewer shows them, and their annotations must be of that."
        )
    if names := doubts["pages"]:
        yield f"{len(names)} of {read} images have several pages, the first is {names[0]}: only the first page is read."


@lru_cache(maxsize=MOST_READ)
def _digest(path: tuple[Path, str]) -> bytes:
    folder, name = path
    return hashlib.sha256((folder / name).read_bytes()).digest()
