"""DropBlock: square blocks of a channel are zeroed together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from ablation.noise.base import MULTIPLIES, Noise, check_integer

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DropBlock(Noise):
    """Blocks of b×b zeroed around centres drawn with probability gamma, the rest rescaled by numel/kept.

    b at most H and W, independently for each channel: Ghiasi et al., arXiv 1810.12890. Where sigma is given, gamma
    is such that a map of that size keeps 1/(1 + sigma²) of its features in the mean, overlaps and edges included.

    Attributes:
        p: 1 - keep_prob of the paper, 0 <= p < 1; instead of sigma. Then gamma = p·H·W / (b²·(H-b+1)·(W-b+1)). Blocks
            overlap, so on a large map the kept fraction is (1 - p/b²)^(b²), a little more than 1-p, and
            sigma = √(1/kept - 1).
        block_size: b, >= 1, in positions of the level.
    """

    formula: ClassVar[str] = (
        "x*m*numel(m)/sum(m), m = 0 on b x b blocks, centres~Bernoulli(gamma), mean(m) = 1/(1+sigma^2); "
        "where p is given: gamma = p*H*W/(b^2*(H-b+1)*(W-b+1))"
    )
    source: ClassVar[str] = "DropBlock, Ghiasi et al., NeurIPS 2018, arXiv:1810.12890"
    native: ClassVar[str | None] = "p"
    native_below: ClassVar[float | None] = 1
    refusals: ClassVar[dict[str, str]] = {
        "scale": MULTIPLIES,
        "granularity": "it drops blocks of positions; noise.params.block_size sets their size",
        "shared": "it draws for each image, as the paper does",
    }

    p: float | None = None
    block_size: int = 7

    def __post_init__(self) -> None:
        check_integer("noise.params.block_size", self.block_size, at_least=1)
        super().__post_init__()

    def sigma_of_native(self, value: float) -> float:
        """√(1/kept - 1) for the fraction kept on a large map, overlaps of blocks included."""
        area = self.block_size**2
        kept = (1 - value / area) ** area
        return math.sqrt(1 / kept - 1) if kept > 0 else math.inf

    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the noisy features; see `Noise.__call__`."""
        import torch

        with torch.no_grad():
            keep = ~self._draw_blocks(x, generator)
            kept = (keep if valid is None else keep & valid).count_nonzero()
            total = keep.numel() if valid is None else valid.count_nonzero() * x.shape[1]
            # At least 1: when all is dropped, 0·(total/0) would be NaN.
            factor = torch.where(keep, (total / kept.clamp_(min=1)).to(x.dtype), 0)
        return x * factor

    def _draw_blocks(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the dropped features: N×C×H×W bool, True where dropped."""
        import torch
        from torch.nn import functional as F

        height, width = x.shape[2:]
        size = min(self.block_size, height, width)
        places = (height - size + 1, width - size + 1)
        if self.p is None:
            gamma = _gamma_for(self.strength, height, width, size)
        else:
            gamma = self.p * height * width / (size**2 * places[0] * places[1])
        drawn = x.new_empty(*x.shape[:2], *places, dtype=torch.float32).uniform_(generator=generator)
        centres = F.pad(drawn < gamma, [size - 1] * 4)
        return _widened(_widened(centres, size, dim=2), size, dim=3)


@lru_cache(maxsize=1024)
def _gamma_for(sigma: float, height: int, width: int, size: int) -> float:
    """Find the probability of a block per place with which a map keeps 1/(1 + sigma²) of its features in the mean.

    A position is kept if none of the n places that cover it holds a block. With t = -log(1 - gamma), this has the
    probability exp(-t·n). Its mean over the map falls with t, so bisection finds t.
    """
    import numpy as np

    covering = np.outer(_places_over(height, size), _places_over(width, size))
    numbers, counts = np.unique(covering, return_counts=True)
    share = counts / covering.size
    # Each position is covered by at least one place and at most b² of them.
    low, high = math.log1p(sigma**2) / numbers[-1], math.log1p(sigma**2)
    for _ in range(60):
        middle = (low + high) / 2
        keeps_more = float(share @ np.exp(-middle * numbers)) > 1 / (1 + sigma**2)
        low, high = (middle, high) if keeps_more else (low, middle)
    return -math.expm1(-high)


def _places_over(length: int, size: int) -> NDArray[np.int64]:
    """Count the places of a block along one side that cover each position."""
    import numpy as np

    at = np.arange(length)
    return np.minimum(at, length - size) - np.maximum(at - size + 1, 0) + 1


def _widened(marks: Tensor, size: int, dim: int) -> Tensor:
    """Return True where any of `size` neighbours along a dimension is True; the dimension shrinks by size - 1.

    Doubling the reach takes about log2(size) passes over bytes and is much faster than maximum pooling.
    """
    reach = 1
    while reach < size:
        step = min(reach, size - reach)
        length = marks.shape[dim] - step
        marks = marks.narrow(dim, 0, length) | marks.narrow(dim, step, length)
        reach += step
    return marks
