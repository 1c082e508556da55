"""Puts noise into an unmodified detectron2 model by hooks, and takes it out again.

Every draw comes from a private generator that is seeded anew from what the draw belongs to: in training the
seed, the iteration and the level; in evaluation the image's id, the level and the draw's number. So the
global generators are never touched, a resumed training draws what an undisturbed one would have drawn, every
model meets the same evaluation noise, and no result depends on batch size, order or workers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from detectron2.utils import comm
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ablation.config.noise import NoiseConfig, NoiseScheduleConfig, Phase
from ablation.models.build import bottom_up, noise_levels
from ablation.noise.base import Noise, rms
from ablation.records.errors import NoiseNotApplied
from ablation.records.schema import LevelTelemetry

Features = dict[str, Tensor]


@dataclass
class _Tally:
    """Running sums of one level; the squares are means over one call each."""

    calls: int = 0
    measured: int = 0
    signal: float = 0.0
    noise: float = 0.0

    def measure(self, before: Tensor, after: Tensor, valid: Tensor | None) -> LevelTelemetry:
        """Add a call to the sums; what it alone showed."""
        signal = float(rms(before, valid).square().mean())
        noise = float(rms(after.detach().float() - before.float(), valid).square().mean())
        self.measured += 1
        self.signal += signal
        self.noise += noise
        return LevelTelemetry(1, math.sqrt(signal), math.sqrt(noise))

    def telemetry(self) -> LevelTelemetry:
        count = max(self.measured, 1)
        return LevelTelemetry(self.calls, math.sqrt(self.signal / count), math.sqrt(self.noise / count))


class Injection:
    """Noise in a model for the time of a `with` block.

    Set `iteration` before each training step; `measured` then holds what that step alone measured, by level.
    draw: which of several independent evaluation draws.
    While `is_paused`, nothing is perturbed.
    In evaluation every image is perturbed on its own, cropped to its own extent, so padding neither counts
    nor receives noise that a single image would not have had.

    Raises:
        ConfigError: a level or destination that the model does not have.
    """

    MEASURE_EVERY = 20  # training calls per level between two measurements of the realised ratio

    def __init__(
        self,
        model: nn.Module,
        noise: NoiseConfig,
        *,
        phase: Phase,
        seed: int = 0,
        iterations: int = 0,
        draw: int = 0,
    ) -> None:
        self.iteration = 0
        self.is_paused = False
        self.measured: dict[str, LevelTelemetry] = {}
        self._model: Any = model
        self._config = noise
        self._noise = noise.build() if noise.acts(phase) else None
        self._phase = phase
        self._draw = draw
        self._seed = seed
        self._iterations = iterations
        self._tallies: dict[str, _Tally] = {}
        self._handles: list[RemovableHandle] = []
        self._inputs: Sequence[Mapping[str, Any]] = ()
        self._padded = (0, 0)
        self._generators: dict[torch.device, torch.Generator] = {}
        self._levels = noise_levels(model).chosen(noise) if self._noise else None

    @property
    def is_inside_the_backbone(self) -> bool:
        """Whether the noise acts on a stage below the outputs, so that it changes what the backbone computes."""
        return bool(self._levels and self._levels.stages)

    def __enter__(self) -> Injection:
        if self._levels is None:
            return self
        self._handles = [
            self._model.register_forward_pre_hook(self._remember_inputs),
            self._model.backbone.register_forward_pre_hook(self._remember_padding),
        ]
        for level in self._levels.stages:
            # The stage itself, not the dict that the network returns: deeper stages see the noise too.
            stage = getattr(bottom_up(self._model), level)
            self._handles.append(stage.register_forward_hook(partial(self._after_stage, level=level)))
        if self._levels.outputs:
            self._attach_outputs(self._levels.outputs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def telemetry(self) -> dict[str, LevelTelemetry]:
        """What the noise did so far, by level."""
        return {level: tally.telemetry() for level, tally in self._tallies.items()}

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The telemetry's running sums, for the checkpoint."""
        return {level: vars(tally).copy() for level, tally in self._tallies.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue the telemetry of an interrupted training."""
        self._tallies = {level: _Tally(**sums) for level, sums in state.items()}

    def check_applied(self) -> None:
        """A noise that was asked for and never acted must not pass for a result.

        Raises:
            NoiseNotApplied: some level was never perturbed.
        """
        asked = (*self._levels.outputs, *self._levels.stages) if self._levels else ()
        silent = sorted(level for level in asked if level not in self._tallies)
        if silent:
            raise NoiseNotApplied(
                f"The noise was configured for {', '.join(sorted(asked))} but never applied to {', '.join(silent)} "
                f"in {self._phase}. Check noise.levels, noise.destination, noise.probability and noise.schedule."
            )

    def _attach_outputs(self, levels: tuple[str, ...]) -> None:
        destination = self._config.destination
        if destination == "both":
            hook = partial(self._after_network, levels=levels)
            self._handles.append(self._model.backbone.register_forward_hook(hook))
            return
        consumer = self._model.proposal_generator if destination == "rpn" else self._model.roi_heads
        self._handles.append(consumer.register_forward_pre_hook(partial(self._before_consumer, levels=levels)))

    def _remember_inputs(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._inputs = arguments[0]

    def _remember_padding(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._padded = tuple(arguments[0].shape[-2:])

    def _after_stage(self, _module: nn.Module, _arguments: tuple[Any, ...], output: Tensor, *, level: str) -> Tensor:
        return self._perturbed(level, output)

    def _after_network(
        self, _module: nn.Module, _arguments: tuple[Any, ...], output: Features, *, levels: tuple[str, ...]
    ) -> Features:
        return output | {level: self._perturbed(level, output[level]) for level in levels if level in output}

    def _before_consumer(
        self, _module: nn.Module, arguments: tuple[Any, ...], *, levels: tuple[str, ...]
    ) -> tuple[Any, ...]:
        # Both consumers of detectron2 take (images, features, ...); the other one keeps the clean features.
        images, features, *rest = arguments
        return images, self._after_network(self._model, (), features, levels=levels), *rest

    def _perturbed(self, level: str, x: Tensor) -> Tensor:
        if self.is_paused:
            return x
        if self._phase == "train":
            return self._perturbed_batch(level, x)
        images = [self._perturbed_image(level, x[i : i + 1], i) for i in range(len(x))]
        return images[0] if len(images) == 1 else torch.cat(images)

    def _perturbed_batch(self, level: str, x: Tensor) -> Tensor:
        noise = self._scheduled()
        key: tuple[object, ...] = ("train", self._seed, self.iteration)
        if rank := comm.get_rank():  # each device has draws of its own
            key = (*key, f"rank {rank}")
        if noise is None or not self._is_acting(x.device, *key):
            return x
        generator = self._generator(x.device, *key, level)
        valid = self._valid(x)
        y = noise(x, generator, valid)
        tally = self._tallies.setdefault(level, _Tally())
        if tally.calls % self.MEASURE_EVERY == 0:
            self.measured[level] = tally.measure(x, y, valid)
        tally.calls += 1
        return y

    def _perturbed_image(self, level: str, x: Tensor, number: int) -> Tensor:
        assert self._noise is not None
        key = ("eval", self._inputs[number]["image_id"], *([self._draw] if self._draw else []))
        if not self._is_acting(x.device, *key):
            return x
        generator = self._generator(x.device, *key, level)
        height, width = self._extent(number, x)
        crop = x[..., :height, :width].contiguous()  # the same bits with and without padding around
        noisy = self._noise(crop, generator)
        tally = self._tallies.setdefault(level, _Tally())
        tally.calls += 1
        tally.measure(crop, noisy, None)
        if crop.shape == x.shape:
            return noisy
        y = x.clone()
        y[..., :height, :width] = noisy
        return y

    def _scheduled(self) -> Noise | None:
        assert self._noise is not None
        strength = strength_at(self._config.schedule, self.iteration, self._iterations)
        if strength == 0:
            return None
        return self._noise if strength == 1 else self._noise.scaled(strength)

    def _is_acting(self, device: torch.device, *key: object) -> bool:
        if self._config.probability == 1:
            return True
        # One decision for all levels of a forward pass.
        draw = torch.rand((), generator=self._generator(device, *key), device=device)
        return bool(draw < self._config.probability)

    def _generator(self, device: torch.device, *key: object) -> torch.Generator:
        generator = self._generators.setdefault(device, torch.Generator(device))
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
        generator.manual_seed(int.from_bytes(digest, "big") >> 1)
        return generator

    def _extent(self, number: int, x: Tensor) -> tuple[int, int]:
        """Height and width of image `number` at x's resolution; what lies beyond is padding."""
        size = self._inputs[number]["image"].shape[-2:]
        height, width = (math.ceil(s * f / p) for s, f, p in zip(size, x.shape[-2:], self._padded, strict=True))
        return height, width

    def _valid(self, x: Tensor) -> Tensor | None:
        extents = [self._extent(i, x) for i in range(len(x))]
        if all(extent == tuple(x.shape[-2:]) for extent in extents):
            return None
        valid = torch.zeros((len(x), 1, *x.shape[-2:]), dtype=torch.bool, device=x.device)
        for i, (height, width) in enumerate(extents):
            valid[i, :, :height, :width] = True
        return valid


def strength_at(schedule: NoiseScheduleConfig, iteration: int, iterations: int) -> float:
    """The share of the full strength, 0 to 1, that the schedule gives an iteration of a training."""
    if iteration < schedule.start or (schedule.stop is not None and iteration >= schedule.stop):
        return 0.0
    if schedule.shape == "constant":
        return 1.0
    full = schedule.full if schedule.full is not None else iterations
    share = min(1.0, (iteration - schedule.start + 1) / max(full - schedule.start, 1))
    return share if schedule.shape == "linear" else (1 - math.cos(math.pi * share)) / 2
