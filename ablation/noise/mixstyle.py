"""MixStyle: channel statistics are mixed with those of another image of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise._moments import affine, channel_moments
from ablation.noise.base import Noise, check_number
from ablation.records.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The value of the authors' code.
_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class MixStyle(Noise):
    """s_mix·(x - mu)/s + mu_mix with mu_mix = lam·mu + (1-lam)·mu', s_mix likewise, lam ~ Beta(alpha, alpha).

    mu and s are the mean and the standard deviation of each channel, mu' and s' those of a randomly shuffled
    batch, lam one number for each image: Zhou et al., arXiv 2104.02008. Variances divide by the count, as in
    the paper's formulas. The paper applies it with probability 0.5, which is `noise.probability` here, to the
    lower stages and never to the last. No gradient flows through the statistics, as in the paper.

    Attributes:
        alpha: both parameters of the Beta distribution, > 0; 0.1 in the paper: lam is mostly near 0 or 1.
    """

    formula: ClassVar[str] = (
        "s_mix*(x - mu)/s + mu_mix, mu_mix = lam*mu + (1-lam)*mu[shuffled], s_mix likewise, "
        "lam~Beta(alpha, alpha) per image, mu, s = channel mean and std"
    )
    source: ClassVar[str] = "MixStyle, Zhou et al., ICLR 2021, arXiv:2104.02008"
    realised_only: ClassVar[bool] = True
    needs_batch: ClassVar[bool] = True
    refusals: ClassVar[dict[str, str]] = {
        "scale": "its strength is the difference of the statistics between two images",
        "granularity": "a mean and a standard deviation belong to a whole channel",
        "shared": "it draws for each image, as the paper does",
    }

    alpha: float = 0.1

    def __post_init__(self) -> None:
        if check_number("noise.params.alpha", self.alpha) <= 0:
            raise ConfigError(f"noise.params.alpha must be > 0, got {self.alpha}.")
        super().__post_init__()

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        import torch

        with torch.no_grad():
            mean, variance = channel_moments(x, valid)
            std = (variance + _EPSILON).sqrt()
            weight = self._draw_weight(x, generator)
            order = torch.randperm(x.shape[0], generator=generator, device=x.device)
            scale = torch.lerp(std[order], std, weight) / std
            shift = torch.lerp(mean[order], mean, weight) - mean * scale
        return affine(x, scale, shift)

    def _draw_weight(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw lam ~ Beta(alpha, alpha) for each image: N×1×1×1 float32."""
        import torch

        # torch.distributions.Beta takes no generator; two gammas make a Beta. In logarithms, by
        # Gamma(alpha) = Gamma(alpha + 1)·U^(1/alpha): with a small alpha both are 0 at times, which would be 0/0.
        shape = x.new_full((2, x.shape[0], 1, 1, 1), self.alpha + 1, dtype=torch.float64)
        uniform = torch.empty_like(shape).uniform_(torch.finfo(shape.dtype).tiny, 1, generator=generator)
        logarithms = torch._standard_gamma(shape, generator=generator).log() + uniform.log() / self.alpha
        return torch.sigmoid(logarithms[0] - logarithms[1]).float()
