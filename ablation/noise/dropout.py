"""Dropout of single features, or of whole channels, positions or images."""

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
class Dropout(GranularNoise):
    """x·m/(1-p) with m ~ Bernoulli(1-p): sigma = √(p/(1-p)).

    Srivastava et al., JMLR 15 (2014), first described in arXiv 1207.0580; the rescaling keeps the mean.

    Attributes:
        p: probability of dropping, 0 <= p < 1; instead of sigma.
    """

    formula: ClassVar[str] = "x*m/(1-p), m~Bernoulli(1-p), p = sigma^2/(1+sigma^2)"
    source: ClassVar[str] = "Hinton et al. 2012, arXiv:1207.0580; Srivastava et al., Dropout, JMLR 15 (2014)"
    native: ClassVar[str | None] = "p"
    native_below: ClassVar[float | None] = 1
    refusals: ClassVar[dict[str, str]] = {"scale": MULTIPLIES}

    p: float | None = None

    def sigma_of_native(self, value: float) -> float:
        """√(p/(1-p)), the standard deviation of m/(1-p)."""
        return math.sqrt(value / (1 - value))

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        import torch

        p = self.strength**2 / (1 + self.strength**2)  # so that 1/(1-p) is 1 + sigma²
        # A uniform draw and a comparison take a quarter of the time of bernoulli_. In float32 always: half
        # precision has too few numbers between 0 and 1 to hit a small p.
        factor = self.draw_uniform(x, generator, 0.0, 1.0, dtype=torch.float32).ge_(p).mul_(1 + self.strength**2)
        return x * factor.to(x.dtype)
