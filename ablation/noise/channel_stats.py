"""Normalization Perturbation: the mean and the standard deviation of each channel are jittered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise._moments import affine, channel_mean
from ablation.noise.base import Noise

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ChannelStats(Noise):
    """alpha·(x - mu) + beta·mu with mu the channel mean and alpha, beta ~ N(1, sigma²) for each channel.

    Normalization Perturbation (arXiv 2211.04393), there with sigma = 0.75 on the shallow stages. The noise is
    (alpha-1)·(x-mu) + (beta-1)·mu; its mean square is sigma²·(var + mu²) = sigma²·rms(x)², so the paper's
    standard deviation is the noise-to-signal ratio itself. Gradients flow through mu, as in the paper's code.
    """

    formula: ClassVar[str] = "alpha*(x - mu) + beta*mu, mu = channel mean, alpha, beta~N(1, sigma^2) per channel"
    source: ClassVar[str] = "Normalization Perturbation, Fan et al., ICLR 2023, arXiv:2211.04393"
    refusals: ClassVar[dict[str, str]] = {
        "scale": "it scales the channels' own statistics, so its strength is relative to them already",
        "granularity": "a mean and a standard deviation belong to a whole channel",
        "shared": "it draws for each image, as the paper does",
    }

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        mean = channel_mean(x, valid)
        alpha = mean.new_empty(mean.shape).normal_(1.0, self.strength, generator=generator)
        beta = mean.new_empty(mean.shape).normal_(1.0, self.strength, generator=generator)
        # alpha·(x - mu) + beta·mu as one factor and one summand, which takes one pass over x.
        return affine(x, alpha, (beta - alpha) * mean)
