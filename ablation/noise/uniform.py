"""Multiplicative uniform noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise._draws import GranularNoise
from ablation.noise.base import MULTIPLIES

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Uniform(GranularNoise):
    """x·(1 + U(-a, a)) with a = √3·sigma.

    F-Noise of CCT (arXiv 2003.09005) has a = 0.3 and one C×H×W draw shared over the batch; x·U(0.8, 1.2) is
    a = 0.2.

    Attributes:
        half_width: a, >= 0, without unit; instead of sigma = a/√3.
    """

    formula: ClassVar[str] = "x*(1 + u), u~U(-a, a), a = sqrt(3)*sigma"
    source: ClassVar[str] = "F-Noise of CCT, Ouali et al., CVPR 2020, arXiv:2003.09005"
    native: ClassVar[str | None] = "half_width"
    refusals: ClassVar[dict[str, str]] = {"scale": MULTIPLIES}

    half_width: float | None = None

    def sigma_of_native(self, value: float) -> float:
        """The standard deviation of U(-a, a)."""
        return value / math.sqrt(3)

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        half_width = math.sqrt(3) * self.strength
        return x * self.draw_uniform(x, generator, 1 - half_width, 1 + half_width)
