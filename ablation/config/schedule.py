"""The group `schedule`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ablation.config.base import Group

# Keys of a detectron2 config, of both kinds, that a key of this group replaces.
REPLACED_KEYS: Mapping[str, tuple[str, ...]] = {
    "iterations": ("SOLVER.MAX_ITER", "train.max_iter"),
    "epochs": ("SOLVER.MAX_ITER", "train.max_iter"),
    "batch_size": ("SOLVER.IMS_PER_BATCH", "dataloader.train.total_batch_size"),
    "lr": ("SOLVER.BASE_LR", "optimizer.lr"),
    "warmup": ("SOLVER.WARMUP_ITERS", "lr_multiplier.warmup_length"),
    "decay": ("SOLVER.LR_SCHEDULER_NAME", "lr_multiplier.scheduler"),
    "weight_decay": ("SOLVER.WEIGHT_DECAY", "optimizer.weight_decay"),
    "clip_norm": ("SOLVER.CLIP_GRADIENTS",),
    "amp": ("SOLVER.AMP.ENABLED", "train.amp.enabled"),
}
_LONGEST = 10**9  # iterations: decades on any machine, so a typing error


class ScheduleConfig(Group):
    """Length and learning rate of the training. None leaves a value to the config of the model."""

    iterations: Annotated[int, Field(ge=0, le=_LONGEST)] | None
    epochs: Annotated[float, Field(gt=0, le=_LONGEST)] | None
    batch_size: Annotated[int, Field(ge=1)] | None
    devices: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)] | None
    warmup: Annotated[int, Field(ge=0)] | None
    decay: Literal["step", "cosine"] | None
    weight_decay: Annotated[float, Field(ge=0)] | None
    clip_norm: Annotated[float, Field(gt=0)] | None
    amp: bool | None

    @model_validator(mode="after")
    def _check_length(self) -> ScheduleConfig:
        if self.iterations is not None and self.epochs is not None:
            raise ValueError(
                f"schedule.iterations={self.iterations} and schedule.epochs={self.epochs:g} both set the length. "
                "Give one of them."
            )
        if self.batch_size is not None:
            self.share(self.batch_size)
        return self

    def share(self, batch_size: int) -> int:
        """Return the number of images of a batch on each device.

        Raises:
            ValueError: the batch size is not a multiple of the number of devices.
        """
        if batch_size % self.devices:
            raise ValueError(
                f"schedule.batch_size must be a multiple of schedule.devices={self.devices}, got {batch_size}: each "
                "device takes an equal share of the batch."
            )
        return batch_size // self.devices

    def length(self, images: int, batch_size: int) -> int | None:
        """Return the number of iterations, or None if the config of the model sets it.

        Args:
            images: number of training images; one epoch sees each of them once.
            batch_size: images per iteration, on all devices together.
        """
        if self.epochs is None:
            return self.iterations
        return max(1, math.ceil(self.epochs * images / batch_size))
