"""Dropout of whole channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise.base import MULTIPLIES, Noise

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ChannelDropout(Noise):
    """x·m/(1-p) with one m ~ Bernoulli(1-p) for each channel of each image: sigma = √(p/(1-p)).

    The feature perturbation of UniMatch (arXiv 2208.09910) with p = 0.5; spatial dropout of arXiv 1411.4280.

    Attributes:
        p: probability of dropping a channel, 0 <= p < 1; instead of sigma.
    """

    formula: ClassVar[str] = "x*m/(1-p), one m~Bernoulli(1-p) per channel, p = sigma^2/(1+sigma^2)"
    source: ClassVar[str] = "UniMatch, Yang et al., CVPR 2023, arXiv:2208.09910"
    native: ClassVar[str | None] = "p"
    native_below: ClassVar[float | None] = 1
    refusals: ClassVar[dict[str, str]] = {
        "scale": MULTIPLIES,
        "granularity": "it drops channels; the dropout type has every granularity",
        "shared": "it draws for each image; dropout with granularity channel can share",
    }

    p: float | None = None

    def sigma_of_native(self, value: float) -> float:
        """√(p/(1-p)), the standard deviation of m/(1-p)."""
        return math.sqrt(value / (1 - value))

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        import torch

        p = self.strength**2 / (1 + self.strength**2)  # so that 1/(1-p) is 1 + sigma²
        drawn = x.new_empty(*x.shape[:2], 1, 1, dtype=torch.float32).uniform_(generator=generator)
        return x * drawn.ge_(p).mul_(1 + self.strength**2).to(x.dtype)
