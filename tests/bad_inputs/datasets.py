"""Data sets: JSON, annotations, images, generated data."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from bad_inputs.bad_input import BadInput

_POLYGON = [8, 8, 40, 8, 40, 40, 8, 40]
_FIX = ("train.json", "Fix the file and repeat the command.")
_COCO = ("train.json is not JSON", "Give a file in COCO format.")
_EXIST = ("cannot be read", "Give COCO files that exist (dataset.train_json, dataset.test_json).")
_IMAGES = ("Set the folder of the images (dataset.train_images, dataset.test_images).",)
_DAMAGED = ("1 of 2 images of", "train.json", "cannot be read, the first is", "Fix or leave out these files.")


def _data() -> dict[str, Any]:
    """A valid set of two images of 64 pixels with one object of each of two classes."""
    common = {"bbox": [8, 8, 32, 32], "area": 1024, "segmentation": [_POLYGON], "iscrowd": 0}
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in (1, 2)],
        "annotations": [{"id": 2 * i + c, "image_id": i, "category_id": c, **common} for i in (1, 2) for c in (1, 2)],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}],
    }


def _write(folder: Path, data: object) -> tuple[str, ...]:
    (folder / "images").mkdir()
    for name in ("1.png", "2.png"):
        Image.new("RGB", (64, 64)).save(folder / "images" / name)
    (folder / "train.json").write_text(json.dumps(data))
    files = (f"dataset.train_json={folder}/train.json", f"dataset.train_images={folder}/images")
    return "dataset=coco_json", *files, "dataset.test_share=0.5"


def _keys(what: str, *overrides: str, names: tuple[str, ...]) -> BadInput:
    """A value of a key, beside sound files."""
    return BadInput(what, lambda folder: [*_write(folder, _data()), *overrides], names, "bare run")


def _edited(what: str, edit: Callable[[Any], object], *names: str, advice: tuple[str, ...] = _FIX) -> BadInput:
    """A JSON file with something else in it."""

    def make(folder: Path) -> tuple[str, ...]:
        edit(data := _data())
        return _write(folder, data)

    return BadInput(what, make, (*names, *advice), "bare run")


def _entry(what: str, section: str, *names: str, advice: tuple[str, ...] = _FIX, **values: object) -> BadInput:
    """A JSON file whose first image, annotation or category holds something else."""
    return _edited(what, lambda data: data[section][0].update(values), *names, advice=advice)


def _bytes(what: str, content: bytes, *names: str) -> BadInput:
    """A JSON file that is none."""

    def make(folder: Path) -> tuple[str, ...]:
        arguments = _write(folder, _data())
        (folder / "train.json").write_bytes(content)
        return arguments

    return BadInput(what, make, (*_COCO, *names), "bare run")


def _file(
    what: str, path: str, make: Callable[[Path], object], *names: str, advice: tuple[str, ...] = _EXIST
) -> BadInput:
    """Something else in place of a file or a folder."""

    def made(folder: Path) -> tuple[str, ...]:
        arguments = _write(folder, _data())
        place = folder / path
        place.rename(folder / "before")
        make(place)
        return arguments

    return BadInput(what, made, (Path(path).name, *names, *advice), "bare run")


def _image(what: str, make: Callable[[Path], object], *names: str, advice: tuple[str, ...] = _DAMAGED) -> BadInput:
    return _file(what, "images/1.png", make, *names, advice=advice)


def _torn(kind: str, **options: object) -> Callable[[Path], object]:
    """Make the first two thirds of an image of this format."""

    def make(path: Path) -> None:
        Image.effect_noise((64, 64), 60).convert("RGB").save(path, kind, **options)
        os.truncate(path, path.stat().st_size * 2 // 3)

    return make


def _rle(counts: object, size: tuple[int, int] = (64, 64)) -> dict[str, object]:
    return {"size": list(size), "counts": counts}


def _double(section: str) -> Callable[[Any], object]:
    return lambda data: data[section].append(data[section][0])


INPUTS = [
    # the JSON file
    _file("a folder in place of the annotations", "train.json", Path.mkdir, "Is a directory"),
    _file("a pipe in place of the annotations", "train.json", os.mkfifo, "It is a pipe or a device"),
    _file("annotations that link to themselves", "train.json", lambda p: p.symlink_to(p), "symbolic links"),
    _file("annotations that link to nothing", "train.json", lambda p: p.symlink_to("none"), "No such file"),
    _keys("a path of 300 characters", f"dataset.train_json={'x' * 300}.json", names=("File name too long", *_EXIST)),
    _keys("a home that nobody has", "dataset.train_json='~nobody.x/a.json'", names=("~nobody.x/a.json", *_EXIST)),
    _keys("annotations below a file", "dataset.train_json=/dev/null/a.json", names=("Not a directory", *_EXIST)),
    _keys("an endless file", "dataset.train_json=/dev/zero", names=("/dev/zero", "a device", *_EXIST)),
    _bytes("a torn JSON file", json.dumps(_data()).encode()[:-90], "line 1"),
    _bytes("two JSON texts in one file", json.dumps(_data()).encode() * 2, "Extra data"),
    _bytes("compressed JSON", gzip.compress(json.dumps(_data()).encode()), "it is compressed and must be unpacked"),
    _bytes("JSON with a byte order mark", b"\xef\xbb\xbf{}", "byte order mark"),
    _bytes("JSON in UTF-16", "{}".encode("utf-16"), "byte 1 of it is not UTF-8"),
    _bytes("JSON in Latin-1", '{"a": "ä"}'.encode("latin-1"), "byte 8 of it is not UTF-8"),
    _bytes("JSON of 100,000 lists in lists", b"[" * 100_000, "nested too deeply"),
    _bytes("a number of 5,000 digits", b'{"images": ' + b"1" * 5000 + b"}", "thousands of digits"),
    # images in the JSON file
    _edited("an image id twice", _double("images"), "image id 1 occurs more than once"),
    _entry("an image id as text", "images", "no integer id, got '1'", id="1"),
    _entry("an image id that is not a number", "images", "no integer id, got nan", id=float("nan")),
    _entry("an image of negative width", "images", "image 1 must have a width in pixels > 0, got -64", width=-64),
    _entry("an image of infinite height", "images", "height in pixels > 0, got inf", height=float("inf")),
    _entry("an image of one pixel's width", "images", "3000 pixels long and 1 wide", "250", width=3000, height=1),
    _entry("an image of too many pixels", "images", "at most 2,147,483,648 pixels", width=10**6, height=10**5),
    _entry("an image in no folder", "images", "1 of 2", "'no/1.png'", file_name="no/1.png", advice=_IMAGES),
    _entry("an image name of 300 characters", "images", "too long", file_name="x" * 300, advice=_IMAGES),
    _entry("an image name with a zero", "images", "'1\\x00.png'", file_name="1\0.png", advice=_IMAGES),
    # annotations
    _edited("an annotation id twice", _double("annotations"), "annotation id 3 occurs more than once"),
    _entry("a box of negative height", "annotations", "bbox of negative size, got [8, 8, 9, -9]", bbox=[8, 8, 9, -9]),
    _entry("a box that is not a number", "annotations", "got [nan, 8, 9, 9]", bbox=[float("nan"), 8, 9, 9]),
    _entry("a box at a hundred million", "annotations", "numbers below 1,000,000", bbox=[1e8, 8, 9, 9]),
    _entry("a corner at a hundred million", "annotations", "-1,000,000", segmentation=[[*_POLYGON, 1e8, 9]]),
    _entry("a corner at infinity", "annotations", "is not a number", segmentation=[[*_POLYGON, 9, float("inf")]]),
    _entry("a polygon of seven numbers", "annotations", "at least three x, y pairs", segmentation=[_POLYGON[:7]]),
    _entry("a mask of another size", "annotations", "RLE of size [64, 32]", segmentation=_rle([2048], (64, 32))),
    _entry("a mask that ends early", "annotations", "of sum 4096", segmentation=_rle([0, 4000])),
    _entry("a mask of negative runs", "annotations", "whole numbers >= 0", segmentation=_rle([-1, 4097])),
    _entry("a compressed mask of other text", "annotations", "do not decode to 4096", segmentation=_rle("PPYo1Z")),
    # categories
    _entry("a line break in a class name", "categories", "in one line", "got 'a\\nb'", name="a\nb"),
    _entry("a bell in a class name", "categories", "without control characters, got 'a\\x07'", name="a\a"),
    _entry("a class name of half a character", "categories", "in one line", "got '\\ud800'", name="\ud800"),
    # image files
    _image("a torn TIFF file", _torn("TIFF"), "'1.png': it is truncated or damaged"),
    _image("a torn TIFF file with compression", _torn("TIFF", compression="tiff_lzw"), "'1.png'"),
    _image("a torn BMP file", _torn("BMP"), "'1.png': it is truncated or damaged"),
    _image("a torn GIF file", _torn("GIF"), "'1.png': it is truncated or damaged"),
    _image("an empty image file", Path.touch, "'1.png': it is no image, damaged, or of an unknown format"),
    _image("an image that is none", lambda p: p.write_text("<svg/>"), "'1.png': it is no image"),
    _image("an image that is turned", lambda p: Image.new("L", (32, 64)).save(p), "'1.png' is 32 x 64 pixels, not 64 x",
           advice=("set width and height",)),
    _image("an image of 16 bits", lambda p: Image.new("I;16", (64, 64)).save(p), "'1.png'", advice=("8 bits",)),
    _image("a pipe in place of an image", os.mkfifo, "'1.png'", advice=_IMAGES),
    _image("an image that links to itself", lambda p: p.symlink_to(p), "'1.png'", "symbolic links", advice=_IMAGES),
    _file("a file in place of the images", "images", Path.touch, "2 of 2 images", advice=_IMAGES),
    # keys of dataset
    _keys("no class", "dataset.classes=[]", names=("dataset.classes must be a list with at least one value, got []",)),
    _keys("a class in the wrong case", "dataset.classes=[Cell]", names=("'Cell'", "Available: cell, nucleus.")),
    _keys("a class without a list", "dataset.classes=cell", names=("dataset.classes must be a list", "got 'cell'")),
    _keys("a number as a class", "dataset.classes=[1]", names=("dataset.classes", "a list of text", "got [1]")),
    _keys("classes joined by a plus", "dataset.classes=[cell+nucleus]", names=("'cell+nucleus'", "Available: cell")),
    _keys("no image to train on", "dataset.train_size=0", names=("dataset.train_size must be >= 1, got 0.",)),
    _keys("more images than there are", "dataset.test_size=2", names=("dataset.test_size must be <= 1", "got 2")),
    _keys("half an image", "dataset.train_size=1.5", names=("dataset.train_size must be a whole number, got 1.5",)),
    _keys("all images to test on", "dataset.test_share=1", names=("dataset.test_share must be < 1",)),
    _keys("a share and a test file", "dataset.test_json=a.json", names=("dataset.test_share=0.5", "keep one")),
    _keys("labels of one split", "dataset.test_sem_seg=x", names=("dataset.test_sem_seg must be null", "got x")),
    _keys("labels in no folder", "dataset.train_sem_seg=/no/x", names=("2 of 2", "/no/x", "Make the PNG file of each")),
    _keys("a kind of data that is none", "dataset.type=voc", names=("dataset.type must be 'shapes' or", "got 'voc'")),
    _keys("a key of generated data", "dataset.image_size=64", names=("dataset.image_size is not a key",)),
    BadInput("COCO in no folder", "dataset=coco dataset.root=/no/coco", ("/no/coco/annotations", *_EXIST), "bare run"),
    BadInput("COCO without its folder", "dataset=coco", ("dataset.root must be given",), "bare run"),
    BadInput(
        "generated data below a file",
        "dataset.folder=/dev/null/x",
        ("/dev/null/x cannot be written: /dev/null is not a folder", "dataset.folder=..."),
    ),
    BadInput("generated images of 63 pixels", "dataset.image_size=63", ("must be >= 64, got 63",)),
    BadInput("generated images of a wall", "dataset.image_size=99999", ("must be <= 8192, got 99999",)),
    BadInput("too many generated images", "dataset.train_size=1000001", ("dataset.train_size must be <= 1000000",)),
    BadInput("another kind without its keys", "dataset.type=coco", ("dataset.root is missing", "+dataset.root=")),
    BadInput("no generated image", "dataset.test_size=0", ("dataset.test_size must be >= 1, got 0",)),
    BadInput("a generated set of seed -1", "dataset.seed=-1", ("dataset.seed must be >= 0, got -1",)),
    BadInput("classes of generated data", "dataset.classes=[ellipse]", ("dataset.classes is not a key",)),
]  # fmt: skip
