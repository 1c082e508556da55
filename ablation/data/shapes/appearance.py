"""The appearance of generated images: outlines of the classes, fills, backgrounds and colours of each style."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Points = NDArray[np.float64]
Style = Literal["shapes", "glyphs"]


# Patterns: brightness (H, W) in -1..1 at pixel coordinates x, y.


def pixel_grid(height: int, width: int) -> tuple[Image, Image]:
    """Return pixel coordinates x and y, (height, width) each."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


def _waves(rng: np.random.Generator, x: Image, y: Image) -> tuple[Image, Image]:
    """Return two perpendicular waves, (H, W) each, of a random direction and a period of 4 to 12 pixels."""
    angle, period = rng.uniform(0, 2 * math.pi), rng.uniform(4, 12)
    along, across = (np.float32(f(angle) * 2 * math.pi / period) for f in (math.cos, math.sin))
    return np.sin(along * x + across * y), np.sin(along * y - across * x)


def _plain(rng: np.random.Generator, x: Image, y: Image) -> Image:
    return np.zeros_like(x)


def _gradient(rng: np.random.Generator, x: Image, y: Image) -> Image:
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    low, high = ramp.min(), ramp.max()
    return np.asarray((2 * ramp - low - high) / max(high - low, np.float32(1)), np.float32)


def _stripes(rng: np.random.Generator, x: Image, y: Image) -> Image:
    return np.asarray(np.sign(_waves(rng, x, y)[0]), np.float32)


def _checks(rng: np.random.Generator, x: Image, y: Image) -> Image:
    first, second = _waves(rng, x, y)
    return np.asarray(np.sign(first * second), np.float32)


def _dots(rng: np.random.Generator, x: Image, y: Image) -> Image:
    first, second = _waves(rng, x, y)
    return np.asarray(np.where(first + second > 0.8, 1, -0.3), np.float32)


def _ripples(rng: np.random.Generator, x: Image, y: Image) -> Image:
    first, second = _waves(rng, x, y)
    return np.asarray(np.sin(2 * first + second), np.float32)


def _blotches(rng: np.random.Generator, x: Image, y: Image) -> Image:
    coarse = rng.uniform(-1, 1, (5, 5)).astype(np.float32)
    return _resized(coarse, x.shape[1], x.shape[0], cv2.INTER_LINEAR)


def _resized(image: Image, width: int, height: int, interpolation: int) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.float32)


# Backgrounds and colours.


def _smooth_background(rng: np.random.Generator, size: int) -> Image:
    """Soft muted clouds with faint stripes and a few straight scratches, (size, size, 3)."""
    coarse = (_muted(rng) + rng.uniform(-30, 30, (4, 4, 3))).astype(np.float32)
    canvas = _resized(coarse, size, size, cv2.INTER_CUBIC)
    canvas += np.float32(rng.uniform(0, 8)) * _waves(rng, *pixel_grid(size, size))[0][..., None]
    for _ in range(int(rng.integers(0, 4))):
        start, end = rng.integers(0, size, (2, 2)).tolist()
        cv2.line(canvas, start, end, rng.uniform(30, 225, 3).tolist(), int(rng.integers(1, 3)))
    return canvas


def _mosaic_background(rng: np.random.Generator, size: int) -> Image:
    """Tiles of saturated colours with a few circles, (size, size, 3)."""
    tiles = int(rng.integers(2, 8))
    base, spread = _saturated(rng), rng.uniform(5, 30)
    coarse = (base + rng.normal(0, spread, (tiles, tiles, 3))).astype(np.float32)
    canvas = _resized(coarse, size, size, cv2.INTER_NEAREST)
    for _ in range(int(rng.integers(0, 4))):
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
    return np.asarray(_ring(2 * tips) * np.tile([1.0, rng.uniform(0.35, 0.55)], tips)[:, None])


def _gear(rng: np.random.Generator) -> Points:
    teeth = int(rng.integers(5, 9))
    return np.asarray(_ring(4 * teeth) * np.tile([1.0, 1.0, 0.7, 0.7], teeth)[:, None])


def _cross(rng: np.random.Generator) -> Points:
    w = rng.uniform(0.2, 0.4)
    arm = np.array([(1, -w), (1, w), (w, w)])
    turns = [np.array([(c, s), (-s, c)]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return np.concatenate([arm @ turn for turn in turns])


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
class Appearance:
    """The appearance of a style's images. All intensities are in 0..255.

    Attributes:
        background: Makes the canvas, (size, size, 3) in BGR.
        color: Draws the base colour of an object, (3,).
        contrast: Smallest mean distance of that colour to what lies behind the object.
        patterns: The fills to choose from.
        shading: Range of the strength of the fill.
        grain: Range of the standard deviation of the pixel noise over the whole image.
    """

    background: Callable[[np.random.Generator, int], Image]
    color: Callable[[np.random.Generator], Image]
    contrast: float
    patterns: tuple[Callable[[np.random.Generator, Image, Image], Image], ...]
    shading: tuple[float, float]
    grain: tuple[float, float]


APPEARANCES: dict[Style, Appearance] = {
    "shapes": Appearance(_smooth_background, _muted, 45, (_plain, _gradient, _stripes, _checks), (6, 30), (3, 10)),
    "glyphs": Appearance(_mosaic_background, _saturated, 45, (_plain, _dots, _ripples, _blotches), (10, 40), (2, 10)),
}

# Each outline by the name of its class, in the order of the classes.
OUTLINES: dict[Style, dict[str, Callable[[np.random.Generator], Points]]] = {
    "shapes": {"rectangle": _rectangle, "triangle": _triangle, "ellipse": _ellipse},
    "glyphs": {
        **{"star": _star, "gear": _gear, "cross": _cross, "arrow": _arrow, "corner": _corner, "tee": _tee},
        **{"heart": _heart, "crescent": _crescent, "drop": _drop, "bolt": _bolt, "hourglass": _hourglass},
    },
}
