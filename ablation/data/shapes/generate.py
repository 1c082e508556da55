"""Generator of the built-in data set: small images with instance masks, in COCO format. Needs NumPy and OpenCV only.

There are two styles, which have nothing in common that a detector could memorise. A demo trains and tests on "shapes":
rotated rectangles, triangles and ellipses. The built-in checkpoint was trained on "glyphs": other classes, colours,
fills and backgrounds, so it is to "shapes" what a checkpoint from COCO is to a new data set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ablation.data.shapes.appearance import APPEARANCES, OUTLINES, Appearance, Image, Points, Style, pixel_grid

Mask = NDArray[np.bool_]

# Increase it whenever the same spec gives other bytes than before: it is part of the fingerprint.
VERSION = 2
SPLITS = ("train", "test")
# Test ids start here, so that an id names one image of the whole set, as in COCO, however many are in "train".
TEST_ID_OFFSET = 1_000_000
# Fraction of an object's full area. An object that is hidden further is not recognisable, and chance decides the AP.
MIN_VISIBLE_FRACTION = 0.6
MIN_PART_PIXELS = 12
PLACEMENT_ATTEMPTS = 12


@dataclass(frozen=True)
class ShapesSpec:
    """What to generate. The same spec gives the same bytes, and a larger split starts with the smaller one's images.

    Attributes:
        seed: Any integer >= 0.
        train_images: Number of images to train on.
        test_images: Number of images to test on.
        image_size: Edge of the square images in pixels, at least 32.
        style: "shapes" for training and testing, "glyphs" for pre-training.
        objects: Fewest and most objects to place in an image, both inclusive.
        object_size: Smallest and largest square root of an object's full area, as a fraction of image_size.
    """

    seed: int = 0
    train_images: int = 400
    test_images: int = 200
    image_size: int = 128
    style: Style = "shapes"
    objects: tuple[int, int] = (2, 5)
    object_size: tuple[float, float] = (0.125, 0.45)

    def __post_init__(self) -> None:
        if self.image_size < 32:
            raise ValueError(f"image_size must be >= 32 pixels, got {self.image_size}.")
        for name in ("seed", "train_images", "test_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}.")
        if self.style not in OUTLINES:
            raise ValueError(f"style must be one of {', '.join(OUTLINES)}, got {self.style!r}.")


def generate(spec: ShapesSpec, folder: Path) -> None:
    """Write `train.json`, `test.json` and the images `train/*.png`, `test/*.png` below the folder.

    File names in the JSON are relative to `folder/train` and `folder/test`.
    """
    for split, count in zip(SPLITS, (spec.train_images, spec.test_images), strict=True):
        images = folder / split
        images.mkdir(parents=True, exist_ok=True)
        coco = _write_split(spec, split, count, images)
        (folder / f"{split}.json").write_text(json.dumps(coco, separators=(",", ":")), encoding="utf-8")


def areas(spec: ShapesSpec) -> tuple[float, float]:
    """Return bounds of the visible area of an object in square pixels."""
    smallest, largest = (fraction * spec.image_size for fraction in spec.object_size)
    return MIN_VISIBLE_FRACTION * smallest**2, largest**2


def _write_split(spec: ShapesSpec, split: str, count: int, folder: Path) -> dict[str, Any]:
    names = enumerate(OUTLINES[spec.style], 1)
    offset = TEST_ID_OFFSET if split == "test" else 0
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        key = (spec.seed, list(OUTLINES).index(spec.style), SPLITS.index(split), number)
        image, objects = _draw_scene(spec, np.random.default_rng(key))
        image_id = offset + number + 1
        file_name = f"{image_id:07d}.png"
        if not cv2.imwrite(str(folder / file_name), image):
            raise OSError(f"Could not write {folder / file_name}.")
        size = spec.image_size
        images.append({"id": image_id, "file_name": file_name, "width": size, "height": size})
        for class_index, visible in objects:
            annotation_id = offset + len(annotations) + 1
            annotations.append(_annotate(visible, annotation_id, image_id, class_index + 1))
    return {
        "info": {"description": f"ablation {spec.style}, seed {spec.seed}", "version": str(VERSION)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": n, "supercategory": spec.style} for i, n in names],
    }


def _annotate(visible: Mask, annotation_id: int, image_id: int, category_id: int) -> dict[str, Any]:
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "area": int(visible.sum()),
        "segmentation": [part.reshape(-1).tolist() for part in trace(visible)],
        "iscrowd": 0,
    }


def trace(mask: Mask) -> list[Points]:
    """Return polygons that decode to exactly the mask's pixels, one for each connected part.

    Args:
        mask: (H, W), without holes.

    Returns:
        Arrays (P, 2) of x, y in pixels, where pixel (0, 0) covers 0..1.
    """
    # Contours join pixel centres. Those of a mask of twice the size pass a quarter pixel outside the centres
    # of the original pixels, so no centre lies on a line and the decoder has nothing to round.
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour[:, 0].astype(np.float64) + 0.5) / 2 for contour in contours]


def _draw_scene(spec: ShapesSpec, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[tuple[int, Mask]]]:
    """Return an image, (H, W, 3) in BGR, and the class index and the visible pixels, (H, W), of each object."""
    appearance = APPEARANCES[spec.style]
    canvas = appearance.background(rng, spec.image_size)
    classes: list[int] = []
    visible: list[Mask] = []
    floors: list[float] = []
    for class_index in _deal_classes(spec, rng):
        placed = _place(spec, rng, class_index, visible, floors)
        if placed is None:
            continue
        polygon, mask = placed
        _paint(canvas, polygon, appearance, rng)
        visible = [earlier & ~mask for earlier in visible] + [mask]
        floors.append(MIN_VISIBLE_FRACTION * float(mask.sum()))
        classes.append(class_index)
    grain = np.float32(rng.uniform(*appearance.grain))
    canvas += grain * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), list(zip(classes, visible, strict=True))


def _deal_classes(spec: ShapesSpec, rng: np.random.Generator) -> Iterator[int]:
    """Yield the classes of one image from a shuffled deck, which balances them better than independent draws."""
    deck: list[int] = []
    for _ in range(int(rng.integers(spec.objects[0], spec.objects[1] + 1))):
        deck = deck or [int(i) for i in rng.permutation(len(OUTLINES[spec.style]))]
        yield deck.pop()


def _place(
    spec: ShapesSpec, rng: np.random.Generator, class_index: int, visible: list[Mask], floors: list[float]
) -> tuple[Points, Mask] | None:
    """Find a place that does not hide too much of an earlier object, smaller at each attempt; None if there is none.

    Args:
        visible: The visible pixels of each earlier object, (H, W).
        floors: The number of pixels of each earlier object that must stay visible.
    """
    outline = list(OUTLINES[spec.style].values())[class_index](rng)
    smallest, largest = (fraction * spec.image_size for fraction in spec.object_size)
    size = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
    for _ in range(PLACEMENT_ATTEMPTS):
        polygon = _pose(outline, size, rng, spec.image_size)
        if polygon is not None:
            mask = _coverage(polygon, spec.image_size) > 127
            if _is_whole(mask) and all(map(partial(_survives, mask), visible, floors)):
                return polygon, mask
        size = max(size * 0.9, smallest)
    return None


def _pose(outline: Points, size: float, rng: np.random.Generator, image_size: int) -> Points | None:
    """Rotate the outline, scale it to the square root of area `size`, move it to a place inside the image."""
    cos, sin = math.cos(angle := rng.uniform(0, 2 * math.pi)), math.sin(angle)
    x, y = outline.T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    points = outline @ np.array([[cos, sin], [-sin, cos]]) * (size / math.sqrt(area))
    low, high = 1 - points.min(axis=0), image_size - 1 - points.max(axis=0)
    return None if (low >= high).any() else points + rng.uniform(low, high)


def _coverage(polygon: Points, image_size: int) -> NDArray[np.uint8]:
    """Return how much of each pixel the polygon covers, (H, W) from 0 to 255."""
    canvas = np.zeros((image_size, image_size), np.uint8)
    # OpenCV puts pixel centres at integers and takes fixed-point coordinates with `shift` fractional bits.
    corners = np.rint((polygon - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 255, cv2.LINE_AA, shift=8)  # type: ignore[call-overload,unused-ignore]
    return canvas


def _survives(cover: Mask, visible: Mask, floor: float) -> bool:
    """Return True if enough of an object stays visible under a cover, in parts that polygons can express."""
    if not (visible & cover).any():
        return True
    remaining = visible & ~cover
    return int(remaining.sum()) >= floor and _is_whole(remaining)


def _is_whole(mask: Mask) -> bool:
    """Return True if the mask has no hole, which would need RLE, and no part of a few pixels only."""
    pixels = mask.astype(np.uint8)
    contours, hierarchy = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours or (hierarchy[0, :, 3] >= 0).any():
        return False
    if len(contours) == 1:
        return int(mask.sum()) >= MIN_PART_PIXELS
    _, _, parts, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    return bool((parts[1:, cv2.CC_STAT_AREA] >= MIN_PART_PIXELS).all())


def _paint(canvas: Image, polygon: Points, appearance: Appearance, rng: np.random.Generator) -> None:
    """Blend a filled polygon into the canvas (H, W, 3), in place."""
    left, top = np.maximum(np.floor(polygon.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.ceil(polygon.max(axis=0)).astype(int) + 1
    region = canvas[top:bottom, left:right]
    alpha = _coverage(polygon, len(canvas))[top:bottom, left:right, None].astype(np.float32) / 255
    color = _contrasting_color(appearance, rng, region.mean(axis=(0, 1)))
    pattern = appearance.patterns[int(rng.integers(len(appearance.patterns)))](rng, *pixel_grid(*region.shape[:2]))
    shading = np.float32(rng.uniform(*appearance.shading)) * rng.uniform(0.4, 1.0, 3).astype(np.float32)
    region += alpha * (color + pattern[..., None] * shading - region)


def _contrasting_color(appearance: Appearance, rng: np.random.Generator, behind: NDArray[np.floating[Any]]) -> Image:
    for _ in range(PLACEMENT_ATTEMPTS):
        color = appearance.color(rng)
        if np.abs(color - behind).mean() >= appearance.contrast:
            break
    return color
