"""The built-in data set: small generated images with instance masks, in real COCO format.

Two styles share the machinery and nothing a detector could memorise. "shapes" is what a demo trains and tests
on: rotated rectangles, triangles and ellipses. "glyphs" is what the built-in checkpoint was trained on: other
classes, colours, fills and backgrounds, so starting from it is to "shapes" what starting from COCO is to a new
data set. Needs numpy and OpenCV only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
# Raised whenever the same spec gives other bytes than before: it is part of what identifies the data.
VERSION = 1

Style = Literal["shapes", "glyphs"]

SPLITS = ("train", "test")
# Test ids start here, so an id names one image of the whole set, as in COCO, however many are in "train".
TEST_ID_OFFSET = 1_000_000
# Of an object's full area; what is hidden further is not recognisable, and chance decides the AP.
MIN_VISIBLE_FRACTION = 0.5
MIN_PART_PIXELS = 12
PLACEMENT_ATTEMPTS = 12


@dataclass(frozen=True)
class ShapesSpec:
    """What to generate. The same spec gives the same bytes; each image depends on seed, style and its number only.

    seed: any integer >= 0.
    train_images, test_images: images per split.
    image_size: edge of the square images in pixels, at least 32.
    style: "shapes" for training and testing, "glyphs" for pre-training.
    objects: fewest and most objects tried per image, both inclusive.
    object_size: smallest and largest square root of an object's full area, as a fraction of image_size.
    """

    seed: int = 0
    train_images: int = 400
    test_images: int = 200
    image_size: int = 128
    style: Style = "shapes"
    objects: tuple[int, int] = (2, 6)
    object_size: tuple[float, float] = (0.1, 0.45)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}.")
        if self.image_size < 32:
            raise ValueError(f"image_size must be >= 32 pixels, got {self.image_size}.")
        if self.style not in OUTLINES:
            raise ValueError(f"style must be one of {', '.join(OUTLINES)}, got {self.style!r}.")


@dataclass(frozen=True)
class _Scene:
    """One rendered image (H, W, 3; BGR, 0..255) with a class index and the visible pixels per object."""

    image: NDArray[np.uint8]
    classes: list[int]
    visible: list[Mask]


def generate(spec: ShapesSpec, folder: Path) -> None:
    """Write `train.json`, `test.json` and the images `train/*.png`, `test/*.png` below the folder.

    File names in the JSON are relative to `folder/train` and `folder/test`.
    """
    for split, count in zip(SPLITS, (spec.train_images, spec.test_images), strict=True):
        images = folder / split
        images.mkdir(parents=True, exist_ok=True)
        coco = _write_split(spec, split, count, images)
        (folder / f"{split}.json").write_text(json.dumps(coco, separators=(",", ":")), encoding="utf-8")


def categories(style: Style) -> list[str]:
    """Class names of a style in the order of their COCO category ids, which start at 1."""
    return list(OUTLINES[style])


def _write_split(spec: ShapesSpec, split: str, count: int, folder: Path) -> dict[str, Any]:
    names = categories(spec.style)
    offset = TEST_ID_OFFSET if split == "test" else 0
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        key = (spec.seed, list(OUTLINES).index(spec.style), SPLITS.index(split), number)
        scene = _draw_scene(spec, np.random.default_rng(key))
        image_id = offset + number + 1
        file_name = f"{image_id:07d}.png"
        if not cv2.imwrite(str(folder / file_name), scene.image):
            raise OSError(f"Could not write {folder / file_name}.")
        size = spec.image_size
        images.append({"id": image_id, "file_name": file_name, "width": size, "height": size})
        for class_index, visible in zip(scene.classes, scene.visible, strict=True):
            annotation_id = offset + len(annotations) + 1
            annotations.append(_annotate(visible, annotation_id, image_id, class_index + 1))
    return {
        "info": {
            "description": f"ablation built-in set, style {spec.style}, seed {spec.seed}",
            "version": "1",
        },
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": n, "supercategory": spec.style} for i, n in enumerate(names, 1)],
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
    """Polygons that decode to exactly the mask's pixels, one per connected part.

    mask: (H, W), without holes. Returns (P, 2) arrays of x, y in pixels, pixel (0, 0) covering 0..1.
    """
    # Contours join pixel centres. Those of a mask of twice the size pass a quarter pixel outside the centres of
    # the original pixels, so no centre lies on a line and the decoder has nothing to round.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour[:, 0].astype(np.float64) + 0.5) / 2 for contour in contours]


def _draw_scene(spec: ShapesSpec, rng: np.random.Generator) -> _Scene:
    look = LOOKS[spec.style]
    canvas = look.background(rng, spec.image_size)
    classes: list[int] = []
    visible: list[Mask] = []
    floors: list[float] = []
    for class_index in _deal_classes(spec, rng):
        placed = _place(spec, rng, class_index, visible, floors)
        if placed is None:
            continue
        polygon, mask = placed
        _paint(canvas, polygon, look, rng)
        visible = [earlier & ~mask for earlier in visible] + [mask]
        floors.append(MIN_VISIBLE_FRACTION * float(mask.sum()))
        classes.append(class_index)
    grain = np.float32(rng.uniform(*look.grain))
    canvas += grain * rng.standard_normal(canvas.shape, dtype=np.float32)
    return _Scene(np.clip(canvas, 0, 255).astype(np.uint8), classes, visible)


def _deal_classes(spec: ShapesSpec, rng: np.random.Generator) -> Iterator[int]:
    """Deal the classes of one image from a shuffled deck, which balances them better than independent draws."""
    deck: list[int] = []
    for _ in range(int(rng.integers(spec.objects[0], spec.objects[1] + 1))):
        deck = deck or [int(i) for i in rng.permutation(len(OUTLINES[spec.style]))]
        yield deck.pop()


def _place(
    spec: ShapesSpec, rng: np.random.Generator, class_index: int, visible: list[Mask], floors: list[float]
) -> tuple[Points, Mask] | None:
    """Find a place that hides no earlier object too much, smaller at each attempt; None if there is none.

    floors: fewest pixels of each earlier object that must stay visible.
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
    """Rotate the outline, scale it to the square root of area `size` and move it to a place inside the image."""
    cos, sin = math.cos(angle := rng.uniform(0, 2 * math.pi)), math.sin(angle)
    x, y = outline.T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    points = outline @ np.array([[cos, sin], [-sin, cos]]) * (size / math.sqrt(area))
    low, high = 1 - points.min(axis=0), image_size - 1 - points.max(axis=0)
    return None if (low >= high).any() else points + rng.uniform(low, high)


def _coverage(polygon: Points, image_size: int) -> NDArray[np.uint8]:
    """How much of each pixel (H, W) the polygon covers, 0 to 255."""
    canvas = np.zeros((image_size, image_size), np.uint8)
    # OpenCV puts pixel centres at integers and takes fixed-point coordinates with `shift` fractional bits.
    corners = np.rint((polygon - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 255, cv2.LINE_AA, shift=8)  # type: ignore[call-overload,unused-ignore]
    return canvas


def _survives(cover: Mask, visible: Mask, floor: float) -> bool:
    """Whether enough of an object stays visible under a cover, in parts that polygons can express."""
    remaining = visible & ~cover
    pixels = int(remaining.sum())
    return pixels == int(visible.sum()) or (pixels >= floor and _is_whole(remaining))


def _is_whole(mask: Mask) -> bool:
    """Whether the mask has neither a hole, which would need RLE, nor a part of a few pixels only."""
    pixels = mask.astype(np.uint8)
    contours, hierarchy = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours or (hierarchy[0, :, 3] >= 0).any():
        return False
    _, _, parts, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    return bool((parts[1:, cv2.CC_STAT_AREA] >= MIN_PART_PIXELS).all())


def _paint(canvas: Image, polygon: Points, look: Look, rng: np.random.Generator) -> None:
    """Blend a filled polygon into the canvas (H, W, 3), in place."""
    left, top = np.maximum(np.floor(polygon.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.ceil(polygon.max(axis=0)).astype(int) + 1
    region = canvas[top:bottom, left:right]
    alpha = _coverage(polygon, len(canvas))[top:bottom, left:right, None].astype(np.float32) / 255
    color = _contrasting_color(look, rng, region.mean(axis=(0, 1)))
    pattern = look.patterns[int(rng.integers(len(look.patterns)))](rng, *_grid(*region.shape[:2]))
    shading = np.float32(rng.uniform(*look.shading)) * rng.uniform(0.4, 1.0, 3).astype(np.float32)
    region += alpha * (color + pattern[..., None] * shading - region)


def _contrasting_color(look: Look, rng: np.random.Generator, behind: NDArray[np.floating[Any]]) -> Image:
    for _ in range(PLACEMENT_ATTEMPTS):
        color = look.color(rng)
        if np.abs(color - behind).mean() >= look.contrast:
            break
    return color


# Patterns: brightness (H, W) in -1..1 at pixel coordinates x, y.


def _grid(height: int, width: int) -> tuple[Image, Image]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


def _waves(rng: np.random.Generator, x: Image, y: Image) -> tuple[Image, Image]:
    """Two perpendicular waves (H, W) each, of a random direction and a period of 4 to 12 pixels."""
    angle, period = rng.uniform(0, 2 * math.pi), rng.uniform(4, 12)
    along, across = (np.float32(f(angle) * 2 * math.pi / period) for f in (math.cos, math.sin))
    return np.sin(along * x + across * y), np.sin(along * y - across * x)


def _plain(rng: np.random.Generator, x: Image, y: Image) -> Image:
    return np.zeros_like(x)


def _gradient(rng: np.random.Generator, x: Image, y: Image) -> Image:
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    low, high = ramp.min(), ramp.max()
    return (2 * ramp - low - high) / max(high - low, np.float32(1))


def _stripes(rng: np.random.Generator, x: Image, y: Image) -> Image:
    return np.sign(_waves(rng, x, y)[0])


def _checks(rng: np.random.Generator, x: Image, y: Image) -> Image:
    first, second = _waves(rng, x, y)
    return np.sign(first * second)


def _dots(rng: np.random.Generator, x: Image, y: Image) -> Image:
    first, second = _waves(rng, x, y)
    return np.where(first + second > 0.8, np.float32(1), np.float32(-0.3))


def _ripples(rng: np.random.Generator, x: Image, y: Image) -> Image:
    first, second = _waves(rng, x, y)
    return np.sin(2 * first + second)


def _blotches(rng: np.random.Generator, x: Image, y: Image) -> Image:
    coarse = rng.uniform(-1, 1, (5, 5)).astype(np.float32)
    return _resized(coarse, x.shape[1], x.shape[0], cv2.INTER_LINEAR)


def _resized(image: Image, width: int, height: int, interpolation: int) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.float32)


# Backgrounds and colours.


def _smooth_background(rng: np.random.Generator, size: int) -> Image:
    """Soft muted clouds with faint stripes and a few straight scratches, (size, size, 3)."""
    coarse = rng.uniform(60, 200, (4, 4, 3)).astype(np.float32)
    canvas = _resized(coarse, size, size, cv2.INTER_CUBIC)
    canvas += np.float32(rng.uniform(0, 14)) * _waves(rng, *_grid(size, size))[0][..., None]
    for _ in range(int(rng.integers(0, 6))):
        start, end = rng.integers(0, size, (2, 2)).tolist()
        cv2.line(canvas, start, end, rng.uniform(30, 225, 3).tolist(), int(rng.integers(1, 3)))
    return canvas


def _mosaic_background(rng: np.random.Generator, size: int) -> Image:
    """Tiles of saturated colours with a few circles, (size, size, 3)."""
    tiles = int(rng.integers(2, 8))
    base, spread = _saturated(rng), rng.uniform(10, 60)
    coarse = (base + rng.normal(0, spread, (tiles, tiles, 3))).astype(np.float32)
    canvas = _resized(coarse, size, size, cv2.INTER_NEAREST)
    for _ in range(int(rng.integers(0, 5))):
        center, radius = rng.integers(0, size, 2).tolist(), int(rng.integers(3, size // 4))
        cv2.circle(canvas, center, radius, _saturated(rng).tolist(), int(rng.integers(1, 3)))
    return canvas


def _muted(rng: np.random.Generator) -> Image:
    return rng.uniform(35, 220, 3).astype(np.float32)


def _saturated(rng: np.random.Generator) -> Image:
    """A vivid colour: one channel high, one low, one anywhere."""
    levels = [rng.uniform(150, 255), rng.uniform(0, 80), rng.uniform(0, 255)]
    return rng.permutation(np.array(levels, np.float32))


# Outlines: (P, 2) corners of a simple polygon; scale and position do not matter.


def _rectangle(rng: np.random.Generator) -> Points:
    half = rng.uniform(1, 2.5) / 2
    return np.array([(-half, -0.5), (half, -0.5), (half, 0.5), (-half, 0.5)])


def _triangle(rng: np.random.Generator) -> Points:
    return np.array([(-1.0, 0.0), (1.0, 0.0), (rng.uniform(-1, 1), rng.uniform(1.2, 2.4))])


def _ellipse(rng: np.random.Generator) -> Points:
    return _ring(48) * (rng.uniform(1, 2.2), 1.0)


def _star(rng: np.random.Generator) -> Points:
    tips = int(rng.integers(4, 7))
    return _ring(2 * tips) * np.tile([1.0, rng.uniform(0.35, 0.55)], tips)[:, None]


def _gear(rng: np.random.Generator) -> Points:
    teeth = int(rng.integers(5, 9))
    return _ring(4 * teeth) * np.tile([1.0, 1.0, 0.7, 0.7], teeth)[:, None]


def _cross(rng: np.random.Generator) -> Points:
    w = rng.uniform(0.2, 0.4)
    arm = np.array([(1.0, -w), (1.0, w), (w, w)])
    turns = [np.array([[0, 1], [-1, 0]])] * 3
    arms = [arm]
    for turn in turns:
        arms.append(arms[-1] @ turn)
    return np.concatenate(arms)


def _arrow(rng: np.random.Generator) -> Points:
    w, neck = rng.uniform(0.15, 0.35), rng.uniform(-0.2, 0.3)
    return np.array([(-1, -w), (neck, -w), (neck, -0.8), (1, 0), (neck, 0.8), (neck, w), (-1, w)])


def _corner(rng: np.random.Generator) -> Points:
    w, leg = rng.uniform(0.4, 0.7), rng.uniform(1.2, 2.0)
    return np.array([(0, 0), (2, 0), (2, w), (w, w), (w, leg), (0, leg)])


def _tee(rng: np.random.Generator) -> Points:
    w, leg = rng.uniform(0.3, 0.5), rng.uniform(1.2, 2.0)
    half = w / 2
    return np.array([(-1, 0), (1, 0), (1, w), (half, w), (half, leg), (-half, leg), (-half, w), (-1, w)])


def _heart(rng: np.random.Generator) -> Points:
    t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3 * rng.uniform(0.8, 1.2), y], axis=1)


def _crescent(rng: np.random.Generator) -> Points:
    t = np.linspace(-0.65, 0.65, 24) * math.pi
    outer = np.stack([-np.cos(t), np.sin(t)], axis=1)
    inner = outer[::-1] * (rng.uniform(0.2, 0.5), 1.0)
    # The inner arc is flattened about the line through the two tips, where both arcs meet.
    inner[:, 0] += outer[0, 0] - inner[0, 0]
    return np.concatenate([outer, inner[1:-1]])


def _drop(rng: np.random.Generator) -> Points:
    t = np.linspace(0.2, 1.8, 32) * math.pi
    return np.concatenate([np.stack([np.cos(t), np.sin(t)], axis=1), [(rng.uniform(1.6, 2.4), 0.0)]])


def _bolt(rng: np.random.Generator) -> Points:
    s = rng.uniform(0.8, 1.2)
    return np.array([(0.2, -1), (-0.5 * s, 0.15), (0, 0.15), (-0.2, 1), (0.5 * s, -0.15), (0, -0.15)])


def _hourglass(rng: np.random.Generator) -> Points:
    w, h = rng.uniform(0.15, 0.35), rng.uniform(0.8, 1.3)
    return np.array([(-0.8, -h), (0.8, -h), (w, 0), (0.8, h), (-0.8, h), (-w, 0)])


def _ring(corners: int) -> Points:
    t = np.arange(corners) * (2 * math.pi / corners)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


@dataclass(frozen=True)
class Look:
    """What a style's images look like.

    background: makes the (size, size, 3) canvas in BGR, about 0..255.
    color: draws an object's base colour (3,); contrast is its least mean distance to what lies behind, 0..255.
    patterns: the fills to choose from; shading is the range of their strength, 0..255.
    grain: range of the standard deviation of the pixel noise over the whole image, 0..255.
    """

    background: Callable[[np.random.Generator, int], Image]
    color: Callable[[np.random.Generator], Image]
    contrast: float
    patterns: tuple[Callable[[np.random.Generator, Image, Image], Image], ...]
    shading: tuple[float, float]
    grain: tuple[float, float]


LOOKS: dict[Style, Look] = {
    "shapes": Look(_smooth_background, _muted, 30, (_plain, _gradient, _stripes, _checks), (8, 40), (4, 14)),
    "glyphs": Look(
        _mosaic_background, _saturated, 30, (_plain, _dots, _ripples, _blotches), (10, 60), (2, 16)
    ),
}

OUTLINES: dict[Style, dict[str, Callable[[np.random.Generator], Points]]] = {
    "shapes": {"rectangle": _rectangle, "triangle": _triangle, "ellipse": _ellipse},
    "glyphs": {
        "star": _star,
        "gear": _gear,
        "cross": _cross,
        "arrow": _arrow,
        "corner": _corner,
        "tee": _tee,
        "heart": _heart,
        "crescent": _crescent,
        "drop": _drop,
        "bolt": _bolt,
        "hourglass": _hourglass,
    },
}
