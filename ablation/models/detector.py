"""A detectron2 config of either kind, YAML or LazyConfig: how to build, optimise and feed its model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ablation.data.loaders import LoaderConfig, Mapper, TrainItems
from ablation.records.errors import ConfigError, first_line

# What detectron2's builders raise for a config that they cannot build.
_BUILD_ERRORS = (KeyError, AssertionError, ValueError, AttributeError, ImportError, TypeError)


@dataclass(frozen=True)
class SemanticHead:
    """A head that labels every pixel.

    Attributes:
        classes: Number of classes.
        ignore_value: Label of the pixels that count neither in training nor in evaluation.
        needs_masks: True if detectron2 puts the masks of objects above the labels, as for panoptic segmentation.
    """

    classes: int
    ignore_value: int
    needs_masks: bool


class Detector(ABC):
    """A detectron2 config, adapted to the data and the schedule.

    Attributes:
        iterations: Of the training.
        weights: Path or address of the checkpoint to start from; '' for none.
        is_amp: True if the training uses mixed precision.
        has_masks: True if the model predicts masks.
        has_keypoints: True if the model predicts keypoints.
        semantic: The head that labels every pixel, if there is one.
        oks_sigmas: One for each keypoint; () for COCO's own.
        loader_config: How training batches are loaded.
    """

    iterations: int
    weights: str
    is_amp: bool
    has_masks: bool
    has_keypoints: bool
    semantic: SemanticHead | None
    oks_sigmas: tuple[float, ...]
    loader_config: LoaderConfig

    def build(self) -> nn.Module:
        """Return an untrained model; its initial weights depend on torch's global seed alone.

        Raises:
            ConfigError: detectron2 cannot build what the config describes.
        """
        try:
            return self._build()
        except _BUILD_ERRORS as error:
            raise ConfigError(
                f"detectron2 cannot build this model: {type(error).__name__}: {first_line(error)}. Check model.config "
                "and model.overrides."
            ) from error

    def check_solver(self, model: nn.Module) -> None:
        """Refuse an optimizer or a schedule of the learning rate that cannot be built for a model."""
        try:
            self.scheduler(self.optimizer(model))
        except _BUILD_ERRORS as error:
            raise ConfigError(
                f"detectron2 cannot build the optimizer of this model: {type(error).__name__}: {first_line(error)}. "
                "Check model.config and model.overrides."
            ) from error

    @abstractmethod
    def _build(self) -> nn.Module: ...

    @abstractmethod
    def optimizer(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of the model's parameters."""

    @abstractmethod
    def scheduler(self, optimizer: Optimizer) -> LRScheduler:
        """Return the schedule of the learning rate."""

    @abstractmethod
    def mapper(self, name: str, *, augmented: bool, annotated: bool) -> Mapper:
        """Return the function from an entry of detectron2's catalog to a model's input.

        Args:
            name: Of the split in the catalog.
            augmented: True for augmentation and resizing as in training, False for resizing as in evaluation.
            annotated: True for the ground truth that a loss needs.
        """

    @abstractmethod
    def train_items(self, name: str) -> TrainItems:
        """Return the images of a split that are trained on, and their order, as the installed detectron2 makes both.

        Args:
            name: Of the split in the catalog.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the config as YAML that detectron2 reads."""


def with_gradient_clipping(optimizer: Optimizer, norm: float, norm_type: float = 2.0) -> Optimizer:
    """Make an optimizer scale each parameter's gradient down to a norm before each step.

    The result equals detectron2's own clipping bit for bit, which calls `torch.nn.utils.clip_grad_norm_` for one
    parameter after the other; this takes three calls for all of them instead of six for each.
    """

    @torch.no_grad()
    def clip(*_: object) -> None:
        grads: list[Tensor] = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        if grads:
            norms = torch.stack(torch._foreach_norm(grads, norm_type))
            scales = torch.clamp(norm / (norms + 1e-6), max=1.0)
            torch._foreach_mul_(grads, list(scales.unbind()))

    optimizer.register_step_pre_hook(clip)
    return optimizer
