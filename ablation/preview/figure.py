"""The figure of an observation: detections and features, clean beside noisy. Arrays go in, a Figure comes out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from ablation.evaluation.pictures import detected_objects, draw_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ablation.preview.compare import LevelView, Observation

_ROWS = ("clean", "noisy", "noisy − clean")
_MAP_WIDTH = 1.6  # inches
_IMAGE_SIDE = 800  # pixels, about twice as many as the figure shows, so that labels stay sharp
# A name in dollar signs is a name, not a formula.
_STYLE: dict[str, Any] = {"font.size": 9, "axes.titlesize": 9, "text.parse_math": False}


def figure(observation: Observation, heading: str, formula: str, min_score: float) -> Figure:
    """Draw the image with the detections of both passes, then one column per level on a colour scale of its own.

    Args:
        observation: What to draw.
        heading: First line of the title.
        formula: The noisy features as a function of x; wrapped below the heading.
        min_score: Detections below are counted and not drawn, 0 to 1.
    """
    levels = observation.comparison.levels
    width = max(7.0, (_MAP_WIDTH + 0.15) * len(levels) + 0.6)
    heights = (_aspect(observation.image) * width / 2 + 0.4, 3 * _aspect(levels[0].clean) * _MAP_WIDTH + 1.3)
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        whole = Figure(figsize=(width, sum(heights) + 0.6), dpi=100, layout="constrained")
        whole.suptitle(f"{heading}\n" + "\n".join(textwrap.wrap(formula, round(13 * width))), fontsize=9)
        above, below = whole.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
        _draw_images(above, observation, min_score)
        _draw_levels(below, levels, width)
    return whole


def render(whole: Figure) -> NDArray[np.uint8]:
    """Return the pixels of a figure, H×W×3 uint8."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        canvas: Any = FigureCanvasAgg(whole)
        canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return pixels


def format_decibels(snr: float) -> str:
    """Format an SNR with one decimal, without the sign of a negative zero."""
    return f"{round(snr, 1) + 0.0:.1f}"


def _aspect(pixels: NDArray[Any]) -> float:
    """Return height over width, limited so that neither panoramas nor portraits blow up the figure."""
    height, width = pixels.shape[:2]
    return float(np.clip(height / width, 0.25, 2.0))


def _draw_images(part: SubFigure, observation: Observation, min_score: float) -> None:
    comparison = observation.comparison
    axes = part.subplots(1, 2)
    for ax, name, instances in zip(axes, ("clean", "noisy"), (comparison.clean, comparison.noisy), strict=True):
        objects = tuple(detected_objects(instances, observation.classes, min_score))
        ax.imshow(draw_objects(observation.image, objects, _IMAGE_SIDE))
        ax.set_axis_off()
        ax.set_title(f"{name}: {len(objects)} of {len(instances)} detections (score >= {min_score:g})")


def _draw_levels(part: SubFigure, levels: tuple[LevelView, ...], width: float) -> None:
    axes = part.subplots(len(_ROWS), len(levels), squeeze=False)
    shrink = min(0.95, _MAP_WIDTH * len(levels) / width)  # a few levels do not fill their columns
    for view, column in zip(levels, axes.T, strict=True):
        maps = (view.clean, view.noisy, view.difference)
        top = max(float(x.max()) for x in maps) or 1.0
        for ax, x in zip(column, maps, strict=True):
            image = ax.imshow(x, cmap="viridis", interpolation="nearest", vmin=0.0, vmax=top)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        bar = part.colorbar(image, ax=list(column), location="bottom", aspect=14, pad=0.02, shrink=shrink)
        bar.ax.tick_params(labelsize=7)
        bar.ax.locator_params(nbins=4)
        sigma, snr = view.telemetry.sigma, view.telemetry.snr_db
        strength = "no signal" if sigma is None else f"sigma {sigma:.3g}"
        strength += "" if snr is None else f", {format_decibels(snr)} dB"
        column[0].set_title(f"{view.level}: {'×'.join(map(str, view.shape))}\n{strength}")
    for row, name in enumerate(_ROWS):
        axes[row, 0].set_ylabel(name, fontsize=9)
    part.supxlabel("channel rms of the features, one colour scale per level", fontsize=8)
