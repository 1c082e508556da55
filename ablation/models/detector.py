"""What a model's config describes, whichever of detectron2's two kinds it is: how to build, optimise and feed it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ablation.data.loaders import LoaderConfig, Mapper


@dataclass(frozen=True)
class SemanticHead:
    """What labels every pixel: classes, how many; ignore_value: of the pixels that are not learnt from.

    needs_masks: whether detectron2 puts masks of objects above the stuff, as for panoptic segmentation.
    """

    classes: int
    ignore_value: int
    needs_masks: bool


class Detector(ABC):
    """A detectron2 config fitted to the data and the schedule.

    iterations: of the training; weights: where it starts from, '' for nowhere; is_amp: mixed precision;
    has_masks, has_keypoints: what it predicts besides boxes; oks_sigmas: one for each keypoint, () for COCO's own.
    semantic: what labels stuff, None where nothing does.
    """

    iterations: int
    weights: str
    is_amp: bool
    has_masks: bool
    has_keypoints: bool
    semantic: SemanticHead | None
    oks_sigmas: tuple[float, ...]
    feed: LoaderConfig

    @abstractmethod
    def build(self) -> nn.Module:
        """An untrained model; its initial weights depend on torch's global seed alone.

        Raises:
            ConfigError: detectron2 cannot build what the config describes.
        """

    @abstractmethod
    def optimizer(self, model: nn.Module) -> Optimizer:
        """The optimiser of the model's parameters."""

    @abstractmethod
    def scheduler(self, optimizer: Optimizer) -> LRScheduler:
        """The rate over the iterations."""

    @abstractmethod
    def mapper(self, name: str, *, augmented: bool, annotated: bool) -> Mapper:
        """From an entry of detectron2's catalog to a model's input.

        name: the split in the catalog; augmented: as in training, otherwise as in evaluation; annotated: with the
        ground truth, as a loss needs it.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the config, as YAML, for a reader and for detectron2."""


def with_gradient_clipping(optimizer: Optimizer, norm: float, norm_type: float = 2.0) -> Optimizer:
    """The optimiser, which first scales each parameter's gradient down to the norm.

    The same bits as detectron2's clipping, `torch.nn.utils.clip_grad_norm_` for one parameter after the other, in
    three calls instead of six for each parameter.
    """
    kind = type(optimizer)

    def step(self: Optimizer, closure: Any = None) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        _clip(grads, norm, norm_type)
        return kind.step(self, closure)

    optimizer.__class__ = type(f"{kind.__name__}WithGradientClip", (kind,), {"step": step})
    return optimizer


@torch.no_grad()
def _clip(grads: list[Tensor], norm: float, norm_type: float) -> None:
    if not grads:
        return
    norms = torch.stack(torch._foreach_norm(grads, norm_type))
    scales = torch.clamp(norm / (norms + 1e-6), max=1.0)
    torch._foreach_mul_(grads, list(scales.unbind()))


def build_error_message(error: Exception) -> str:
    """What detectron2 said when it could not build a model."""
    return (
        f"detectron2 cannot build this model: {type(error).__name__}: {error}. Check model.config and model.overrides."
    )


BUILD_ERRORS = (KeyError, AssertionError, ValueError, AttributeError, ImportError, TypeError)
