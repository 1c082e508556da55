"""Quantization: features are rounded as a low-precision deployment would round them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise.base import Noise, check_integer

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Quantization(Noise):
    """min + step·round((x - min)/step) with step = (max - min)/(2^bits - 1): 2^bits levels.

    Affine quantization over the range of each image's features on this level: Jacob et al., arXiv 1712.05877.
    The gradient passes straight through (arXiv 1308.3432), as in quantization-aware training.

    Attributes:
        bits: 1 to 16.
    """

    formula: ClassVar[str] = "min + step*round((x - min)/step), step = (max - min)/(2^bits - 1)"
    source: ClassVar[str] = "Jacob et al., CVPR 2018, arXiv:1712.05877; straight-through gradient, arXiv:1308.3432"
    realised_only: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True
    refusals: ClassVar[dict[str, str]] = {
        "scale": "its step follows from the range of the features",
        "granularity": "it draws nothing",
        "shared": "it draws nothing",
    }

    bits: int = 8

    def __post_init__(self) -> None:
        check_integer("noise.params.bits", self.bits, at_least=1, at_most=16)
        super().__post_init__()

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        import torch

        with torch.no_grad():
            values = x.float()
            low = values if valid is None else torch.where(valid, values, torch.inf)
            high = values if valid is None else torch.where(valid, values, -torch.inf)
            low, high = low.amin((1, 2, 3), keepdim=True), high.amax((1, 2, 3), keepdim=True)
            # A constant map has no range; any step leaves it as it is.
            step = ((high - low) / (2**self.bits - 1)).clamp_(min=torch.finfo(torch.float32).tiny)
            rounded = torch.addcmul(low, ((x - low) / step).round_(), step).to(x.dtype)
        # x - x is exactly 0, so the values are the rounded ones to the bit and the gradient is that of x.
        return rounded + (x - x.detach()) if x.requires_grad else rounded
