"""DSU: channel statistics are drawn from a distribution as wide as their spread over the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise._moments import affine, channel_moments
from ablation.noise.base import Noise

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The value of the authors' code: in it, as here, inside each square root.
_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class DSU(Noise):
    """gamma·(x - mu)/s + beta with beta = mu + z1·spread(mu) and gamma = s + z2·spread(s), z1, z2 ~ N(0, 1).

    mu and s are the mean and the standard deviation of each channel of each image, spread(·) the standard
    deviation over the images of the batch: Li et al., arXiv 2202.03958. Variances divide by the count, as in
    the paper's formulas (its code divides by the count less one). The paper applies it with probability 0.5,
    which is `noise.probability` here. Gradients flow through the statistics, as in the paper's code.
    """

    formula: ClassVar[str] = (
        "gamma*(x - mu)/s + beta, beta = mu + z1*spread(mu), gamma = s + z2*spread(s), "
        "z1, z2~N(0,1) per channel, mu, s = channel mean and std, spread = std over the batch"
    )
    source: ClassVar[str] = "DSU, Li et al., ICLR 2022, arXiv:2202.03958"
    realised_only: ClassVar[bool] = True
    needs_batch: ClassVar[bool] = True
    refusals: ClassVar[dict[str, str]] = {
        "scale": "its strength is the spread of the statistics over the batch",
        "granularity": "a mean and a standard deviation belong to a whole channel",
        "shared": "it draws for each image, as the paper does",
    }

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        mean, variance = channel_moments(x, valid)
        std = (variance + _EPSILON).sqrt()
        beta = mean + _spread(mean) * mean.new_empty(mean.shape).normal_(generator=generator)
        gamma = std + _spread(std) * std.new_empty(std.shape).normal_(generator=generator)
        scale = gamma / std
        return affine(x, scale, beta - mean * scale)


def _spread(statistic: Tensor) -> Tensor:
    return (statistic.var(dim=0, keepdim=True, correction=0) + _EPSILON).sqrt()
