"""Typed schema of the whole configuration.

Hydra composes plain YAML. `validate_config` turns the composed mapping into these immutable models, or raises a
ConfigError that names the key, the value and what is allowed. Nothing here loads torch or detectron2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ablation.config.base import Device, Group, Name, PathText
from ablation.config.dataset import DatasetConfig
from ablation.config.evaluation import EvaluationConfig
from ablation.config.keys import flatten, is_below
from ablation.config.model import ModelConfig
from ablation.config.noise import NoiseConfig
from ablation.config.schedule import REPLACED_KEYS, ScheduleConfig
from ablation.config.validation_errors import explain_validation_errors
from ablation.records.errors import ConfigError

_UNSET = "???"  # a mandatory value, in Hydra's YAML


def _number_as_text(name: object) -> object:
    # 20261127 is a good name, and Hydra reads a number.
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


class SweepConfig(Group):
    """Output folder, devices and bookkeeping. No key of this group is part of a run's id."""

    name: Annotated[Name, BeforeValidator(_number_as_text)] | None
    root: PathText
    dry_run: bool
    allow_other_versions: bool
    device: Device
    threads: Annotated[int, Field(ge=1)]
    data_workers: Annotated[int, Field(ge=0)]
    checkpoint_period: Annotated[int, Field(ge=1)]
    keep_checkpoints: Annotated[int, Field(ge=0)]
    determinism: Literal["off", "warn", "strict"]
    log_period: Annotated[int, Field(ge=1)]


class RunConfig(Group):
    """The configuration of one cell of a grid."""

    model: ModelConfig
    dataset: Annotated[DatasetConfig, Field(discriminator="type")]
    noise: NoiseConfig
    schedule: ScheduleConfig
    evaluation: EvaluationConfig
    sweep: SweepConfig
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    @model_validator(mode="after")
    def _check_overrides_against_schedule(self) -> RunConfig:
        for name, replaced in REPLACED_KEYS.items():
            if (value := getattr(self.schedule, name)) is None:
                continue
            for key in flatten(self.model.overrides):
                if is_below(key, replaced):
                    raise ValueError(
                        f"model.overrides.{key} has no effect with schedule.{name}={value}, which replaces it. Keep "
                        "one of them."
                    )
        return self

    @model_validator(mode="after")
    def _check_noise_against_schedule(self) -> RunConfig:
        iterations = self.schedule.iterations
        if iterations == 0 and self.noise.acts("train"):
            raise ValueError(
                f"schedule.iterations=0 trains nothing, so noise.when={self.noise.when} has no meaning. Choose "
                "noise.when=eval, or noise=none with evaluation.noise_grid.sigmas=[...]."
            )
        if iterations is not None:
            self.noise.check_length(iterations, f"schedule.iterations={iterations}")
        built = self.noise.built
        size, devices = self.schedule.batch_size, self.schedule.devices
        if built is not None and built.needs_batch and size == devices:
            shared = f" on {devices} devices" if devices > 1 else ""
            raise ValueError(
                f"schedule.batch_size must be >= {2 * devices} for noise.type={self.noise.type}{shared}, got {size}: "
                "it is made of differences between the images of a batch."
            )
        return self

    @property
    def sweep_name(self) -> str:
        """Folder name of the sweep. The default, <model>-<dataset>, lets a repeated command resume."""
        return self.sweep.name or f"{self.model.name}-{self.dataset.name}"


def validate_config(composed: Mapping[str, Any]) -> RunConfig:
    """Validate a composed configuration.

    Args:
        composed: nested plain mappings, as Hydra composes them.

    Raises:
        ConfigError: some keys are missing, unknown, of the wrong type or out of range; the message names them all.
    """
    if unset := [key for key, value in flatten(composed).items() if value == _UNSET]:
        raise ConfigError(f"{', '.join(unset)} must be given. Add to the command: {'=... '.join(unset)}=...")
    try:
        return RunConfig.model_validate(composed)
    except ValidationError as error:
        raise ConfigError("\n".join(explain_validation_errors(error.errors(), composed, RunConfig))) from error
