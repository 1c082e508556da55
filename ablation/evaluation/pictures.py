"""A few test images with their ground truth beside the detections, and the drawing of boxes and masks.

detectron2's `Visualizer` draws through matplotlib: it takes five to nine times as long for these small images, its
half-transparent boxes fade on coloured ground, and it draws the smallest box on top, not the one of the highest score.
"""

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
_MIN_SCORE = 0.5
_MAX_OBJECTS = 20  # drawn on one image: more hide it
_SIDE = 400  # pixels, the longer one of each half
_GAP, _HEADING = 8, 26  # pixels
_TEXT, _OUTLINE = 15 / _SIDE, 2 / _SIDE  # of the longer side, so that they look the same at any size
_MASK_ALPHA = 0.4


@dataclass(frozen=True)
class DrawnObject:
    """An object to draw on an image.

    Attributes:
        category: Position of its class, which chooses the colour.
        label: Text above the box.
        box: Left, top, right and bottom in pixels of the file.
        mask: H×W at the size of the file, if there is one.
    """

    category: int
    label: str
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True)
class ExampleImage:
    """An image, its ground truth, its detections with the highest scores, and the number of detections of any score."""

    image_id: int
    file: Path
    truths: tuple[DrawnObject, ...]
    detections: tuple[DrawnObject, ...]
    detection_count: int


class ExampleCollector:
    """Collects the detections in a few images, which the ids of the data set choose and nothing else.

    Args:
        dataset: The COCO data set.
        folder: Of its images.
        count: How many images to collect; those with objects come first.
    """

    def __init__(self, dataset: Mapping[str, Any], folder: Path, count: int) -> None:
        self._annotations: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in dataset["images"]}
        for annotation in dataset["annotations"]:
            self._annotations[annotation["image_id"]].append(annotation)

        def rank(image: Mapping[str, Any]) -> tuple[bool, str]:
            return not self._annotations[image["id"]], hashlib.sha256(str(image["id"]).encode()).hexdigest()

        self._selected = {image["id"]: image for image in sorted(dataset["images"], key=rank)[:count]}
        categories = sorted(dataset["categories"], key=lambda category: category["id"])  # as detectron2 numbers them
        self._names = [category["name"] for category in categories]
        self._positions = {category["id"]: position for position, category in enumerate(categories)}
        self._folder = folder
        self._examples: dict[int, ExampleImage] = {}

    def add(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add the detections of a batch, for the selected images."""
        for entry, output in zip(inputs, outputs, strict=True):
            image = self._selected.get(entry["image_id"])
            if image is None or "instances" not in output:
                continue
            annotations = self._annotations[image["id"]][:_MAX_OBJECTS]
            self._examples[image["id"]] = ExampleImage(
                image["id"],
                self._folder / image["file_name"],
                tuple(self._annotated_object(annotation, image) for annotation in annotations),
                tuple(detected_objects(output["instances"], self._names, _MIN_SCORE)),
                len(output["instances"]),
            )

    def examples(self) -> tuple[ExampleImage, ...]:
        """Return the images added so far, always in the same order."""
        return tuple(self._examples[key] for key in self._selected if key in self._examples)

    def _annotated_object(self, annotation: Mapping[str, Any], image: Mapping[str, Any]) -> DrawnObject:
        left, top, width, height = annotation["bbox"]
        mask = None
        if segmentation := annotation.get("segmentation"):
            mask = masks.decode(as_rle(segmentation, (image["height"], image["width"]))).astype(bool)
        position = self._positions[annotation["category_id"]]
        return DrawnObject(position, self._names[position], (left, top, left + width, top + height), mask)


def detected_objects(instances: Any, names: Sequence[str], min_score: float) -> Iterator[DrawnObject]:
    """Yield the detections of an image with the highest scores, at most 20, in descending order.

    Args:
        instances: detectron2's, in pixels of the file.
        names: Of the classes, by class number.
        min_score: Detections below are left out, 0 to 1.
    """
    best = instances[instances.scores >= min_score]
    best = best[best.scores.argsort(descending=True)[:_MAX_OBJECTS]].to("cpu")
    for number in range(len(best)):
        position = int(best.pred_classes[number])
        left, top, right, bottom = best.pred_boxes.tensor[number].tolist()
        mask = best.pred_masks[number].numpy().astype(bool) if best.has("pred_masks") else None
        label = f"{names[position]} {float(best.scores[number]):.2f}"
        yield DrawnObject(position, label, (left, top, right, bottom), mask)


def write_pictures(examples: Sequence[ExampleImage], paths: RunPaths) -> None:
    """Draw each image into a PNG file of its own, and all into TensorBoard events in the run's folder."""
    if not examples:
        return
    writer = FileWriter(str(paths.folder))
    for example in examples:
        pixels = draw_comparison(example)
        # Pillow takes three times as long to compress.
        coded = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()
        with replacing(paths.pictures / f"{example.image_id}.png") as temporary:
            temporary.write_bytes(coded)
        image = Summary.Image(height=pixels.shape[0], width=pixels.shape[1], encoded_image_string=coded)
        writer.add_summary(Summary(value=[Summary.Value(tag=f"pictures/{example.image_id}", image=image)]))
    writer.close()


def draw_comparison(example: ExampleImage) -> Pixels:
    """Draw ground truth on the left and detections on the right, with a heading each; return H×W×3 RGB."""
    image = read_image(str(example.file), "RGB")
    headings = (
        f"ground truth: {len(example.truths)}",
        f"detections: {len(example.detections)} of {example.detection_count}, score >= {_MIN_SCORE:g}",
    )
    parts = [draw_objects(image, objects, _SIDE) for objects in (example.truths, example.detections)]
    height, width, _ = parts[0].shape
    page = Image.new("RGB", (2 * width + _GAP, _HEADING + height), "white")
    for left, heading, part in zip((0, width + _GAP), headings, parts, strict=True):
        ImageDraw.Draw(page).text((left + 2, 4), heading, fill="black", font=_font(16))
        page.paste(Image.fromarray(part), (left, _HEADING))
    return np.asarray(page)


def draw_objects(image: Pixels, objects: Sequence[DrawnObject], side: int) -> Pixels:
    """Draw objects on an image, the first on top.

    Args:
        image: H×W×3 RGB at the size of the file.
        objects: In pixels of the file.
        side: The longer side of the result, in pixels.

    Returns:
        H×W×3 RGB.
    """
    scale = side / max(image.shape[:2])
    height, width = (round(scale * length) for length in image.shape[:2])
    page = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    for one in reversed(objects):
        if one.mask is not None:
            _draw_mask(page, one)
    draw = ImageDraw.Draw(page)
    for one in reversed(objects):
        left, top, right, bottom = (value * scale for value in one.box)
        draw.rectangle((left, top, right, bottom), outline=_colour(one), width=round(_OUTLINE * side))
        text = round(_TEXT * side)
        label_width, label_height = draw.textlength(one.label, _font(text)) + 4, text + 3
        x = min(max(left, 0), max(width - label_width, 0))
        y = top - label_height if top >= label_height else min(max(top, 0), height - label_height)
        draw.rectangle((x, y, x + label_width, y + label_height), fill=_colour(one))
        draw.text((x + 2, y + 1), one.label, fill="black", font=_font(text))
    return np.asarray(page)


def _draw_mask(page: Image.Image, one: DrawnObject) -> None:
    mask = cv2.resize(np.asarray(one.mask, np.float32), page.size, interpolation=cv2.INTER_LINEAR)
    inside = (mask >= 0.5).astype(np.uint8)
    rim = inside - cv2.erode(inside, np.ones((5, 5), np.uint8))
    strength = np.where(rim, 1.0, inside * _MASK_ALPHA) * 255
    page.paste(ImageColor.getrgb(_colour(one)), (0, 0, *page.size), Image.fromarray(strength.astype(np.uint8)))


def _colour(one: DrawnObject) -> str:
    return _COLOURS[one.category % len(_COLOURS)]


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
