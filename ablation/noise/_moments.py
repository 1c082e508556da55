"""Channel means and variances that leave padding out, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def channel_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of each image's channels over the valid positions; gradients flow through x.

    x: N×C×H×W.
    valid: N×1×H×W bool; None means all valid.
    Returns: N×C×1×1 float32; 0 for an image without a valid position.
    """
    import torch

    if valid is None:
        return x.mean(dim=(2, 3), keepdim=True, dtype=torch.float32)
    total = torch.where(valid, x, 0).sum(dim=(2, 3), keepdim=True, dtype=torch.float32)
    return total / _positions(valid)


def channel_moments(x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and variance of each image's channels over the valid positions; gradients flow through x.

    The variance divides by the number of positions, as the papers' formulas do: it is 0, and not undefined,
    for a 1×1 map.

    x: N×C×H×W.
    valid: N×1×H×W bool; None means all valid.
    Returns: N×C×1×1 float32 twice.
    """
    import torch

    mean = channel_mean(x, valid)
    deviation = x.float() - mean
    if valid is None:
        return mean, deviation.square().mean(dim=(2, 3), keepdim=True)
    squares = torch.where(valid, deviation, 0).square()
    return mean, squares.sum(dim=(2, 3), keepdim=True) / _positions(valid)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x·scale + shift in the dtype of x, computed in float32 at least: both terms may be far larger than their sum.

    x: N×C×H×W.
    scale, shift: N×C×1×1.
    """
    import torch

    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.addcmul(shift.to(wide), x.to(wide), scale.to(wide)).to(x.dtype)


def _positions(valid: Tensor) -> Tensor:
    return valid.sum(dim=(2, 3), keepdim=True).clamp_(min=1)
