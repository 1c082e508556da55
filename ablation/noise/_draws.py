"""Random draws of every granularity from a given generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ablation.noise.base import Noise

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GranularNoise(Noise):
    """Base of noises whose random numbers can be drawn at several granularities.

    Attributes:
        granularity: what has a random number of its own: element (drawn as N×C×H×W), channel (N×C×1×1),
            position (N×1×H×W) or image (N×1×1×1).
        shared: draw once for the whole batch (first dimension 1) instead of once for each image.
    """

    granularity: Literal["element", "channel", "position", "image"] = "element"
    shared: bool = False

    def draw_normal(self, x: Tensor, generator: torch.Generator, mean: float, std: float) -> Tensor:
        """Draw independent N(mean, std²) numbers of the granularity's shape, in the dtype of x."""
        blank = self._blank(x, x.dtype)
        _in_memory_order(blank).normal_(mean, std, generator=generator)
        return blank

    def draw_uniform(
        self, x: Tensor, generator: torch.Generator, low: float, high: float, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Draw independent U(low, high) numbers of the granularity's shape, in `dtype` or the dtype of x."""
        blank = self._blank(x, x.dtype if dtype is None else dtype)
        _in_memory_order(blank).uniform_(low, high, generator=generator)
        return blank

    def _blank(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        import torch

        images, channels, height, width = x.shape
        shape = (
            1 if self.shared else images,
            channels if self.granularity in ("element", "channel") else 1,
            height if self.granularity in ("element", "position") else 1,
            width if self.granularity in ("element", "position") else 1,
        )
        # A draw of full size becomes the result, so it has the memory format of x.
        return torch.empty_like(x, dtype=dtype) if shape == x.shape else x.new_empty(shape, dtype=dtype)


def _in_memory_order(blank: Tensor) -> Tensor:
    # torch fills contiguous memory nine times faster than a channels_last view of it.
    return blank if blank.is_contiguous() else blank.permute(0, 2, 3, 1)
