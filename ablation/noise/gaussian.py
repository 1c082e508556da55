"""Additive Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ablation.noise._draws import GranularNoise
from ablation.noise.base import rms

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Gaussian(GranularNoise):
    """x + sigma·rms(x)·z with z ~ N(0, 1); rms(x) is that of each image's features on this level.

    Feature augmentation with noise that does not depend on the data: Li et al., ICCV 2021 (SFA-S).

    Attributes:
        scale: `relative`: sigma is the noise-to-signal ratio; `absolute`: sigma is the standard deviation of the
            noise in feature units, and the ratio is measured.
    """

    formula: ClassVar[str] = "x + sigma*rms(x)*z, z~N(0,1); with noise.scale=absolute: x + sigma*z"
    source: ClassVar[str] = (
        "Li et al., A Simple Feature Augmentation for Domain Generalization, ICCV 2021 (no arXiv version)"
    )

    scale: Literal["relative", "absolute"] = "relative"

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        import torch

        with torch.no_grad():
            if self.scale == "absolute":
                noise = self.draw_normal(x, generator, 0.0, self.strength)
            else:
                noise, scale = self.draw_normal(x, generator, 0.0, 1.0), rms(x, valid).mul_(self.strength)
                # In place, unless one shared draw becomes a noise for each image.
                noise = noise.mul_(scale) if len(noise) == len(scale) else (noise * scale).to(noise.dtype)
        # Adding x into the drawn numbers needs no second buffer, and autograd keeps nothing of a sum.
        return noise.add_(x) if noise.shape == x.shape else x + noise
