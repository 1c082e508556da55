"""F-Drop of CCT: the most active positions are zeroed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ablation.noise.base import Noise, check_number
from ablation.records.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SaliencyDropout(Noise):
    """x·[a < t·max(a)] with a the mean over the channels at each position and t ~ U(low, high).

    F-Drop of CCT, arXiv 2003.09005, with t ~ U(0.6, 0.9). The mask has no gradient and nothing is rescaled.

    Attributes:
        threshold_low, threshold_high: range of t, a fraction of the largest activation, 0 <= low <= high <= 1.
        shared: one t for the whole batch, as in the authors' code, instead of one for each image.
    """

    formula: ClassVar[str] = "x*[a < t*max(a)], a = mean over channels, t~U(threshold_low, threshold_high)"
    source: ClassVar[str] = "F-Drop of CCT, Ouali et al., CVPR 2020, arXiv:2003.09005"
    realised_only: ClassVar[bool] = True
    refusals: ClassVar[dict[str, str]] = {
        "scale": "its strength is what the dropped positions held",
        "granularity": "it drops positions in all channels at once",
    }

    threshold_low: float = 0.6
    threshold_high: float = 0.9
    shared: bool = False

    def __post_init__(self) -> None:
        low = check_number("noise.params.threshold_low", self.threshold_low, at_least=0, at_most=1)
        high = check_number("noise.params.threshold_high", self.threshold_high, at_least=0, at_most=1)
        if low > high:
            raise ConfigError(
                f"noise.params.threshold_low must be <= noise.params.threshold_high={high:g}, got {low:g}. "
                "Swap the two."
            )
        super().__post_init__()

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        import torch

        with torch.no_grad():
            activation = x.mean(dim=1, keepdim=True, dtype=torch.float32)
            # Padding must not be the maximum that the threshold is a fraction of.
            counted = activation if valid is None else activation.masked_fill(~valid, -torch.inf)
            threshold = activation.new_empty(1 if self.shared else x.shape[0], 1, 1, 1)
            threshold.uniform_(self.threshold_low, self.threshold_high, generator=generator)
            keep = activation < threshold * counted.amax(dim=(2, 3), keepdim=True)
        return x * keep.to(x.dtype)
