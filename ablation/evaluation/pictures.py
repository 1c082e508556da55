"""A few test images with their ground truth beside what was found in them, for people to look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.data.detection_utils import read_image
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from pycocotools import mask as masks
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.writer import FileWriter

from ablation.evaluation.matching import as_rle
from ablation.records.atomic import replacing
from ablation.records.paths import RunPaths

Pixels = NDArray[np.uint8]

# Of Okabe and Ito, those that stand out on photographs; one for each class, then again.
_COLOURS = ("#56B4E9", "#E69F00", "#F0E442", "#CC79A7", "#009E73", "#D55E00")
_LEAST_SCORE = 0.5
_MOST = 20  # objects drawn on one image: more hide it
_SIDE = 400  # pixels, the longer one of each half
_GAP, _HEADING, _TEXT = 8, 26, 15  # pixels
_MASK_ALPHA = 0.4


@dataclass(frozen=True)
class Shape:
    """An object in pixels of the file. category: position of its class; box: left, top, right, bottom; mask: H×W."""

    category: int
    label: str
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True)
class ExampleImage:
    """An image, its ground truth, and the surest detections; found: how many there were of any score."""

    image_id: int
    file: Path
    truths: tuple[Shape, ...]
    detections: tuple[Shape, ...]
    found: int


class Album:
    """Keeps the detections in a handful of images, which the ids of the data set decide and nothing else.

    truth: the COCO data set; folder: of its images; count: how many are kept, those with objects first.
    """

    def __init__(self, truth: Mapping[str, Any], folder: Path, count: int) -> None:
        self._annotations: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in truth["images"]}
        for annotation in truth["annotations"]:
            self._annotations[annotation["image_id"]].append(annotation)
        order = sorted(truth["images"], key=lambda image: (not self._annotations[image["id"]], _rank(image["id"])))
        self._chosen = {image["id"]: image for image in order[:count]}
        categories = sorted(truth["categories"], key=lambda category: category["id"])  # as detectron2 numbers them
        self._names = [category["name"] for category in categories]
        self._positions = {category["id"]: position for position, category in enumerate(categories)}
        self._folder = folder
        self._pictures: dict[int, ExampleImage] = {}

    def add(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take what a batch gave in the images that are kept."""
        for entry, output in zip(inputs, outputs, strict=True):
            image = self._chosen.get(entry["image_id"])
            if image is None or "instances" not in output:
                continue
            truths = tuple(self._truth(annotation, image) for annotation in self._annotations[image["id"]][:_MOST])
            instances, file = output["instances"], self._folder / image["file_name"]
            detections = tuple(self._detected(instances))
            self._pictures[image["id"]] = ExampleImage(image["id"], file, truths, detections, len(instances))

    def pictures(self) -> tuple[ExampleImage, ...]:
        """Those that were met, always in the same order."""
        return tuple(self._pictures[key] for key in self._chosen if key in self._pictures)

    def _truth(self, annotation: Mapping[str, Any], image: Mapping[str, Any]) -> Shape:
        left, top, width, height = annotation["bbox"]
        mask = None
        if segmentation := annotation.get("segmentation"):
            mask = masks.decode(as_rle(segmentation, (image["height"], image["width"]))).astype(bool)
        position = self._positions[annotation["category_id"]]
        return Shape(position, self._names[position], (left, top, left + width, top + height), mask)

    def _detected(self, instances: Any) -> Iterator[Shape]:
        sure = instances[instances.scores >= _LEAST_SCORE]
        sure = sure[sure.scores.argsort(descending=True)[:_MOST]].to("cpu")
        for number in range(len(sure)):
            position = int(sure.pred_classes[number])
            left, top, right, bottom = sure.pred_boxes.tensor[number].tolist()
            mask = sure.pred_masks[number].numpy().astype(bool) if sure.has("pred_masks") else None
            label = f"{self._names[position]} {float(sure.scores[number]):.2f}"
            yield Shape(position, label, (left, top, right, bottom), mask)


def write_pictures(pictures: Sequence[ExampleImage], paths: RunPaths) -> None:
    """Draw each into a PNG file of its own, and all into TensorBoard events in the run's folder."""
    if not pictures:
        return
    writer = FileWriter(str(paths.folder))
    for picture in pictures:
        pixels = draw_comparison(picture)
        # Pillow takes three times as long.
        coded = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()
        with replacing(paths.pictures / f"{picture.image_id}.png") as temporary:
            temporary.write_bytes(coded)
        image = Summary.Image(height=pixels.shape[0], width=pixels.shape[1], encoded_image_string=coded)
        writer.add_summary(Summary(value=[Summary.Value(tag=f"pictures/{picture.image_id}", image=image)]))
    writer.close()


def draw_comparison(picture: ExampleImage) -> Pixels:
    """Ground truth on the left and detections on the right, with a heading each: H×W×3 RGB."""
    image = Image.fromarray(read_image(str(picture.file), "RGB"))
    scale = _SIDE / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    page = Image.new("RGB", (2 * image.width + _GAP, _HEADING + image.height), "white")
    number, found = len(picture.detections), picture.found
    headings = (
        f"ground truth: {len(picture.truths)}",
        f"detections: {number} of {found}, score {_LEAST_SCORE:g} or more",
    )
    for side, (heading, shapes) in enumerate(zip(headings, (picture.truths, picture.detections), strict=True)):
        left = side * (image.width + _GAP)
        ImageDraw.Draw(page).text((left + 2, 4), heading, fill="black", font=_font(_TEXT + 1))
        page.paste(_with_shapes(image, shapes, scale), (left, _HEADING))
    return np.asarray(page)


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _rank(image_id: int) -> str:
    return hashlib.sha256(str(image_id).encode()).hexdigest()


def _with_shapes(image: Image.Image, shapes: Sequence[Shape], scale: float) -> Image.Image:
    page = image.copy()
    for shape in reversed(shapes):  # the surest on top
        if shape.mask is not None:
            _draw_mask(page, shape)
    draw = ImageDraw.Draw(page)
    for shape in reversed(shapes):
        box = [value * scale for value in shape.box]
        draw.rectangle(box, outline=_colour(shape), width=2)
        _draw_label(draw, shape, box, page.size)
    return page


def _draw_mask(page: Image.Image, shape: Shape) -> None:
    mask = cv2.resize(np.asarray(shape.mask, np.float32), page.size, interpolation=cv2.INTER_LINEAR)
    inside = (mask >= 0.5).astype(np.uint8)
    rim = inside - cv2.erode(inside, np.ones((5, 5), np.uint8))
    strength = np.where(rim, 1.0, inside * _MASK_ALPHA) * 255
    colour = ImageColor.getrgb(_colour(shape))
    page.paste(colour, (0, 0, *page.size), Image.fromarray(strength.astype(np.uint8)))


def _draw_label(draw: ImageDraw.ImageDraw, shape: Shape, box: Sequence[float], size: tuple[int, int]) -> None:
    font = _font(_TEXT)
    width, height = draw.textlength(shape.label, font) + 4, _TEXT + 3
    left = min(max(box[0], 0), max(size[0] - width, 0))
    top = box[1] - height if box[1] >= height else min(max(box[1], 0), size[1] - height)
    draw.rectangle((left, top, left + width, top + height), fill=_colour(shape))
    draw.text((left + 2, top + 1), shape.label, fill="black", font=font)


def _colour(shape: Shape) -> str:
    return _COLOURS[shape.category % len(_COLOURS)]
