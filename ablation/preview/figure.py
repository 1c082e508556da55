"""The figure of an observation: detections and features, clean beside noisy. Arrays go in, a Figure comes out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from ablation.report.figures.style import style

if TYPE_CHECKING:
    from detectron2.structures import Instances
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from ablation.preview.compare import LevelView, Observation

_ROWS = ("clean", "noisy", "noisy − clean")
# Of Okabe and Ito, those that stand out on photographs; one for each class, then again.
_CLASS_COLOURS = ("#56B4E9", "#E69F00", "#F0E442", "#CC79A7", "#009E73", "#D55E00")
_MOST = 20  # detections drawn on one image: more hide it
_MASK_ALPHA = 0.35
_MAP_WIDTH = 1.6  # inches
_LABEL_ROOM = 0.07  # of the image's height: what a label above a box takes


def figure(observation: Observation, heading: str, formula: str, min_score: float) -> Figure:
    """The image with the detections of both passes, then one column per level on a colour scale of its own.

    min_score: detections below are counted and not drawn, 0 to 1.
    """
    levels = observation.comparison.levels
    width = max(7.0, (_MAP_WIDTH + 0.15) * len(levels) + 0.6)
    heights = (_slope(observation.image) * width / 2 + 0.4, 3 * _slope(levels[0].clean) * _MAP_WIDTH + 1.3)
    with style():
        drawn = Figure(figsize=(width, sum(heights) + 0.6), layout="constrained")
        drawn.suptitle(f"{heading}\n" + "\n".join(textwrap.wrap(formula, round(13 * width))), fontsize=9)
        above, below = drawn.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
        _draw_images(above, observation, min_score)
        _draw_levels(below, levels, width)
    return drawn


def _slope(pixels: NDArray[Any]) -> float:
    """Height over width, so that neither panoramas nor portraits blow up the figure."""
    height, width = pixels.shape[:2]
    return float(np.clip(height / width, 0.25, 2.0))


def rendered(drawn: Figure, dpi: int = 100) -> NDArray[np.uint8]:
    """The pixels of a figure, H×W×3 uint8."""
    with style():
        drawn.set_dpi(dpi)
        canvas: Any = FigureCanvasAgg(drawn)
        canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return pixels


def decibels(snr: float) -> str:
    """An SNR with one decimal, without the sign of a negative zero."""
    return f"{round(snr, 1) + 0.0:.1f}"


def _draw_images(part: SubFigure, observation: Observation, min_score: float) -> None:
    found = observation.comparison
    axes = part.subplots(1, 2)
    for ax, name, instances in zip(axes, ("clean", "noisy"), (found.clean, found.noisy), strict=True):
        ax.imshow(observation.image)
        ax.set_axis_off()
        shown = _draw_detections(ax, instances, observation.classes, min_score)
        ax.set_title(f"{name}: {shown} of {len(instances)} detections (score >= {min_score:g})")


def _draw_detections(ax: Axes, instances: Instances, classes: tuple[str, ...], min_score: float) -> int:
    """How many were drawn: the best of those whose score is high enough."""
    best = instances[instances.scores >= min_score]
    best = best[best.scores.argsort(descending=True)[:_MOST]]
    for number in reversed(range(len(best))):  # the surest on top
        one = best[number]
        colour = _CLASS_COLOURS[int(one.pred_classes[0]) % len(_CLASS_COLOURS)]
        if one.has("pred_masks"):
            _draw_mask(ax, one.pred_masks[0].numpy(), colour)
        _draw_box(ax, one.pred_boxes.tensor[0].tolist(), colour)
        _draw_label(ax, one, f"{classes[int(one.pred_classes[0])]} {float(one.scores[0]):.2f}", colour)
    return len(best)


def _draw_mask(ax: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    overlay = np.zeros((*mask.shape, 4))
    overlay[mask] = (*to_rgb(colour), _MASK_ALPHA)
    ax.imshow(overlay, interpolation="nearest")


def _draw_box(ax: Axes, box: list[float], colour: str) -> None:
    left, top, right, bottom = box
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.0))


def _draw_label(ax: Axes, one: Instances, text: str, colour: str) -> None:
    height, _ = one.image_size
    left, top, _, bottom = one.pred_boxes.tensor[0].tolist()
    is_room = top > _LABEL_ROOM * height
    ax.text(
        max(left, 0),
        top if is_room else min(bottom, height),
        text,
        fontsize=6,
        color="black",
        verticalalignment="bottom",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        clip_on=True,
    )


def _draw_levels(part: SubFigure, levels: tuple[LevelView, ...], width: float) -> None:
    axes = part.subplots(len(_ROWS), len(levels), squeeze=False)
    shrink = min(0.95, _MAP_WIDTH * len(levels) / width)  # a few levels do not fill their columns
    for column, view in enumerate(levels):
        image = _draw_level(list(axes[:, column]), view)
        bar = part.colorbar(image, ax=list(axes[:, column]), location="bottom", aspect=14, pad=0.02, shrink=shrink)
        bar.ax.tick_params(labelsize=7)
        bar.ax.locator_params(nbins=4)
        axes[0, column].set_title(_title(view))
    for row, name in enumerate(_ROWS):
        axes[row, 0].set_ylabel(name, fontsize=9)
    part.supxlabel("channel rms of the features, one colour scale per level", fontsize=8)


def _draw_level(column: list[Axes], view: LevelView) -> AxesImage:
    maps = (view.clean, view.noisy, view.difference)
    top = max(float(x.max()) for x in maps) or 1.0
    look: dict[str, Any] = {"cmap": "viridis", "interpolation": "nearest", "vmin": 0.0, "vmax": top}
    images = [ax.imshow(x, **look) for ax, x in zip(column, maps, strict=True)]
    for ax in column:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    return images[0]


def _title(view: LevelView) -> str:
    sigma, snr = view.telemetry.sigma, view.telemetry.snr_db
    told = "no signal" if sigma is None else f"sigma {sigma:.3g}" + ("" if snr is None else f", {decibels(snr)} dB")
    return f"{view.level}: {'×'.join(map(str, view.shape))}\n{told}"
