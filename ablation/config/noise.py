"""The group `noise`."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ablation import noise as noise_types
from ablation.config.base import Group
from ablation.noise.base import Noise
from ablation.records.errors import ConfigError

Phase = Literal["train", "eval"]


class NoiseScheduleConfig(Group):
    """Strength of the training noise over the iterations; `start`, `full` and `stop` are iterations."""

    shape: Literal["constant", "linear", "cosine"]
    start: Annotated[int, Field(ge=0)]
    full: Annotated[int, Field(ge=1)] | None
    stop: Annotated[int, Field(ge=1)] | None

    @model_validator(mode="after")
    def _check_order(self) -> NoiseScheduleConfig:
        for key, end in (("full", self.full), ("stop", self.stop)):
            if end is not None and end <= self.start:
                raise ValueError(f"noise.schedule.{key} must be after noise.schedule.start={self.start}, got {end}.")
        if self.full is not None and self.stop is not None and self.full > self.stop:
            raise ValueError(
                f"noise.schedule.full must be <= noise.schedule.stop={self.stop}, got {self.full}: the full strength "
                "would never be reached."
            )
        if self.shape == "constant" and self.full is not None:
            raise ValueError(
                f"noise.schedule.full={self.full} has no meaning for noise.schedule.shape=constant; "
                "choose linear or cosine, or leave full at null."
            )
        return self


CONSTANT_SCHEDULE = NoiseScheduleConfig(shape="constant", start=0, full=None, stop=None)


class NoiseConfig(Group):
    """Type, strength, place and phase of the noise."""

    type: str
    sigma: float | None
    params: dict[str, Any]
    levels: Literal["all"] | list[str]
    when: Literal["train", "eval", "always"]
    scale: Literal["relative", "absolute"]
    granularity: Literal["element", "channel", "position", "image"] | None
    shared: bool
    destination: Literal["both", "rpn", "roi"]
    probability: Annotated[float, Field(gt=0, le=1)]
    schedule: NoiseScheduleConfig

    @model_validator(mode="after")
    def _check(self) -> NoiseConfig:
        if self.levels != "all" and (not self.levels or len(set(self.levels)) != len(self.levels)):
            raise ValueError(f"noise.levels must be 'all' or a list of distinct levels, got {self.levels}.")
        try:
            noise = self.built
            if noise is not None and self.schedule.shape != "constant":
                noise.scaled(0.5)  # raises for types whose strength cannot be set
        except ConfigError as error:
            # pydantic collects ValueErrors, so that one message names every invalid key.
            raise ValueError(str(error)) from error
        if noise is not None and noise.needs_batch and self.when != "train":
            raise ValueError(
                f"noise.type={self.type} mixes the images of a batch, so its result in evaluation would depend on "
                f"the batch size; noise.when must be train, got {self.when}."
            )
        if self.when == "eval" and noise is not None:
            self._check_evaluation_only()
        return self

    def _check_evaluation_only(self) -> None:
        if self.shared:
            raise ValueError(
                "noise.shared=true has no effect with noise.when=eval: an evaluation draws for each image by itself, "
                "so that no result depends on the batch. Leave noise.shared at false."
            )
        if self.schedule != CONSTANT_SCHEDULE:
            raise ValueError(
                "noise.schedule has no effect with noise.when=eval: it is the strength over the training. "
                "Leave it out, or choose noise.when=train or always."
            )

    @cached_property
    def built(self) -> Noise | None:
        """The noise that these keys describe; None if they describe none (type none, or sigma 0)."""
        return noise_types.build(
            self.type,
            sigma=self.sigma,
            scale=self.scale,
            granularity=self.granularity,
            shared=self.shared,
            params=self.params,
        )

    def check_length(self, iterations: int, name: str) -> None:
        """Refuse a schedule of the strength that a training is too short for.

        Args:
            iterations: of the training.
            name: these iterations, as the message calls them.

        Raises:
            ValueError: the noise would never act, or never at its full strength.
        """
        start, full = self.schedule.start, self.schedule.full
        if not self.acts("train"):
            return
        if start >= iterations:
            raise ValueError(f"noise.schedule.start must be < {name}, got {start}: the noise would never act.")
        if full is not None and full > iterations:
            raise ValueError(
                f"noise.schedule.full must be <= {name}, got {full}: the full strength would never be reached."
            )

    def acts(self, phase: Phase) -> bool:
        """Return True if there is noise in this phase."""
        return self.built is not None and self.when in (phase, "always")
