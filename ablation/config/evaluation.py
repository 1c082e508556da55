"""The group `evaluation`, with the cells of the noise grid and the corruptions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from ablation import noise as noise_types
from ablation.config.base import Group, Metric
from ablation.config.keys import did_you_mean
from ablation.config.noise import CONSTANT_SCHEDULE, NoiseConfig
from ablation.records.errors import ConfigError

# The 15 of Michaelis et al. (arXiv 1907.07484), in their order. The package has four more, meant for validation.
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)


@dataclass(frozen=True)
class GridCell:
    """One cell of the noise grid.

    Attributes:
        type, sigma, levels: as in the group `noise`.
        draw: index of the independent draw of this noise, from 0.
        noise: the group `noise` of this cell.
    """

    type: str
    sigma: float
    levels: str | list[str]
    draw: int
    noise: NoiseConfig


class NoiseGridConfig(Group):
    """Additional noises that every trained model is evaluated with: each type at each sigma on each set of levels."""

    sigmas: list[Annotated[float, Field(ge=0)]]
    types: Annotated[list[str], Field(min_length=1)]
    levels: Annotated[list[Literal["all"] | list[str]], Field(min_length=1)]
    draws: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def _check(self) -> NoiseGridConfig:
        for key, values in (("types", self.types), ("levels", self.levels), ("sigmas", self.sigmas)):
            if any(value in values[:number] for number, value in enumerate(values)):  # lists cannot be hashed
                raise ValueError(f"evaluation.noise_grid.{key} must be distinct, got {values}: each counts once.")
        if [] in self.levels:
            raise ValueError(f"evaluation.noise_grid.levels must not hold an empty list, got {self.levels}.")
        for name in self.types:
            try:
                noise_types.build(name, sigma=0.0)
            except ConfigError as error:
                message = str(error).removeprefix("noise.type: ")
                raise ValueError(f"evaluation.noise_grid.types: {message}") from error
        try:
            _ = self.cells
        except ValidationError as error:
            reason = error.errors()[0]
            raise ValueError(f"evaluation.noise_grid: {reason.get('ctx', {}).get('error', reason['msg'])}") from error
        return self

    @cached_property
    def cells(self) -> list[GridCell]:
        """The cells of the grid. A sigma of 0 has one draw, since all of them are equal."""
        cells = []
        for type_, levels, sigma in product(self.types, self.levels, self.sigmas):
            noise = NoiseConfig(
                type=type_,
                sigma=sigma,
                params={},
                levels=levels,
                when="eval",
                scale="relative",
                granularity=None,
                shared=False,
                destination="both",
                probability=1.0,
                schedule=CONSTANT_SCHEDULE,
            )
            cells += [GridCell(type_, sigma, levels, draw, noise) for draw in range(self.draws if sigma else 1)]
        return cells


class EvaluationConfig(Group):
    """Metrics, noise grid and corruptions of the evaluation."""

    primary_metric: Metric
    diverged: Literal["survivors", "zero"]
    batch_size: Annotated[int, Field(ge=1)]
    loss_period: Annotated[int, Field(ge=1)] | None
    noise_grid: NoiseGridConfig
    corruptions: Literal["all"] | list[str]
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]
    pictures: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _check_corruptions(self) -> EvaluationConfig:
        for name in self.corruptions if self.corruptions != "all" else ():
            if name not in CORRUPTIONS:
                hint = "Write evaluation.corruptions=all." if name == "all" else did_you_mean(name, [*CORRUPTIONS])
                raise ValueError(f"evaluation.corruptions: {name!r} is not a corruption. {hint}")
        for key, values in (("corruptions", self.corruptions), ("severities", self.severities)):
            if values != "all" and len(set(values)) < len(values):
                raise ValueError(f"evaluation.{key} must be distinct, got {values}: each counts once in mPC.")
        return self

    def conditions(self) -> list[tuple[str, int]]:
        """Return each requested (corruption, severity), in the order of the benchmark."""
        names = CORRUPTIONS if self.corruptions == "all" else sorted(self.corruptions, key=CORRUPTIONS.index)
        return list(product(names, sorted(self.severities)))
