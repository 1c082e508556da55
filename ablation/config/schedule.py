"""The group `schedule`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ablation.config.base import Group


class ScheduleConfig(Group):
    """The training's length and rate; null leaves it to the model's config."""

    iterations: Annotated[int, Field(ge=0)] | None
    epochs: Annotated[float, Field(gt=0)] | None
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
        """Images of a batch that each device gets.

        Raises:
            ValueError: they cannot be shared out evenly.
        """
        if batch_size % self.devices:
            raise ValueError(
                f"schedule.batch_size must be a multiple of schedule.devices={self.devices}, got {batch_size}: each "
                "device takes an equal share of the batch."
            )
        return batch_size // self.devices

    def length(self, images: int, batch_size: int) -> int | None:
        """Iterations that were asked for, an epoch being once through the images; None for those of the config."""
        if self.epochs is None:
            return self.iterations
        return max(1, math.ceil(self.epochs * images / batch_size))
