"""Channel means and variances without padding, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def channel_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean of each image's channels over the valid positions; gradients flow through x.

    Args:
        x: N×C×H×W.
        valid: N×1×H×W bool; None means all valid.

    Returns:
        N×C×1×1 float32; 0 for an image without a valid position.
    """
    import torch

    if valid is None:
        return x.mean(dim=(2, 3), keepdim=True, dtype=torch.float32)
    total = torch.where(valid, x, 0).sum(dim=(2, 3), keepdim=True, dtype=torch.float32)
    return total / _positions(valid)


def channel_moments(x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each image's channels over the valid positions; gradients flow through x.

    The variance is divided by the number of positions, as in the papers, so that it is 0 for a 1×1 map.

    Args:
        x: N×C×H×W.
        valid: N×1×H×W bool; None means all valid.

    Returns:
        both N×C×1×1 float32.
    """
    import torch

    mean = channel_mean(x, valid)
    deviation = x.float() - mean
    if valid is None:
        return mean, deviation.square().mean(dim=(2, 3), keepdim=True)
    squares = torch.where(valid, deviation, 0).square()
    return mean, squares.sum(dim=(2, 3), keepdim=True) / _positions(valid)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x·scale + shift in the dtype of x.

    It is computed in float32 at least, since both terms can be much larger than their sum.

    Args:
        x: N×C×H×W.
        scale, shift: N×C×1×1.
    """
    import torch

    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.addcmul(shift.to(wide), x.to(wide), scale.to(wide)).to(x.dtype)


def _positions(valid: Tensor) -> Tensor:
    # At least 1: an image of padding alone has a sum of 0, and 0/0 would be NaN.
    return valid.sum(dim=(2, 3), keepdim=True).clamp_(min=1)
