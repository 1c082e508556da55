"""Multiplicative Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise._draws import GranularNoise
from ablation.noise.base import MULTIPLIES

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Speckle(GranularNoise):
    """x·(1 + sigma·z) with z ~ N(0, 1).

    Multiplicative Gaussian noise: Srivastava et al., JMLR 15 (2014), section 10, where sigma² = (1-p)/p with
    the probability p of keeping a unit.
    """

    formula: ClassVar[str] = "x*(1 + sigma*z), z~N(0,1)"
    source: ClassVar[str] = "Srivastava et al., Dropout, JMLR 15 (2014), section 10 (no arXiv version)"
    refusals: ClassVar[dict[str, str]] = {"scale": MULTIPLIES}

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        return x * self.draw_normal(x, generator, 1.0, self.strength)
