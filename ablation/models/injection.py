"""Noise in the features of an unmodified detectron2 model, for the time of a `with` block.

A private generator is seeded for every draw: in training by the seed, the iteration and the level; in evaluation by the
image's id, the level and the number of the draw. So the global generators are never used, a resumed training has the
same draws as an uninterrupted one, all models are evaluated under the same noise, and no result depends on batch size,
order or workers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.utils import comm
from torch import Tensor, nn

from ablation.config.noise import NoiseConfig, NoiseScheduleConfig, Phase
from ablation.models.hooks import FeatureHooks, find_levels
from ablation.models.levels import Levels
from ablation.noise.base import rms
from ablation.records.errors import NoiseNotApplied
from ablation.records.schema import LevelTelemetry


@dataclass
class _Tally:
    """Running sums of one level, as checkpoints store them; `signal` and `noise` sum the mean square of each call."""

    calls: int = 0
    measured: int = 0
    signal: float = 0.0
    noise: float = 0.0

    def measure(self, before: Tensor, after: Tensor, valid: Tensor | None) -> LevelTelemetry:
        """Add a call to the sums and return what it measured."""
        signal = float(rms(before, valid).square().mean())
        noise = float(rms(after.detach().float() - before.float(), valid).square().mean())
        self.measured += 1
        self.signal += signal
        self.noise += noise
        return LevelTelemetry(1, math.sqrt(signal), math.sqrt(noise))

    def telemetry(self) -> LevelTelemetry:
        count = max(self.measured, 1)
        return LevelTelemetry(self.calls, math.sqrt(self.signal / count), math.sqrt(self.noise / count))


class Injection(FeatureHooks):
    """Adds noise to the features of a model inside a `with` block.

    In evaluation the features of each image are cropped to the area without padding and perturbed separately, so the
    result is the same as if the image were evaluated alone.

    Args:
        model: The model; it is not changed beyond hooks, which the end of the block removes.
        noise: Which noise, and where and when it acts. No hook is attached where it does not act in `phase`.
        phase: "train" or "eval".
        seed: Of the training; used in training only.
        iterations: Of the whole training, for the noise schedule.
        draw: Number of this evaluation's draw, where several independent ones are evaluated.

    Attributes:
        iteration: Set it before each training step.
        is_paused: While true, nothing is perturbed.
        measured: What the current step alone measured, by level.

    Raises:
        ConfigError: The model does not have a level or the destination.
    """

    MEASURE_EVERY = 20  # training calls per level between two measurements, which cost more than the noise

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
        self._config = noise
        self._noise = noise.built if noise.acts(phase) else None
        self._phase = phase
        self._draw = draw
        self._seed = seed
        self._iterations = iterations
        self._tallies: dict[str, _Tally] = {}
        self._generators: dict[torch.device, torch.Generator] = {}
        levels = find_levels(model).select(noise) if self._noise else Levels((), (), None, None)
        super().__init__(model, levels, noise.destination, self._perturb)

    @property
    def is_inside_backbone(self) -> bool:
        """True if the noise acts on a stage below the outputs, so that it changes what the backbone computes."""
        return bool(self._levels.stages)

    def telemetry(self) -> dict[str, LevelTelemetry]:
        """Return signal and noise measured so far, by level."""
        return {level: tally.telemetry() for level, tally in self._tallies.items()}

    def state_dict(self) -> dict[str, dict[str, float]]:
        """Return the telemetry's running sums, for the checkpoint."""
        return {level: vars(tally).copy() for level, tally in self._tallies.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue the telemetry of an interrupted training."""
        self._tallies = {level: _Tally(**sums) for level, sums in state.items()}

    def check_applied(self) -> None:
        """Refuse a result whose noise was configured and never acted.

        Raises:
            NoiseNotApplied: Some level was never perturbed.
        """
        configured = (*self._levels.outputs, *self._levels.stages)
        silent = sorted(level for level in configured if level not in self._tallies)
        if silent:
            raise NoiseNotApplied(
                f"The noise was configured for {', '.join(sorted(configured))} but never applied to "
                f"{', '.join(silent)} in {self._phase}. Check noise.levels, noise.destination, noise.probability and "
                "noise.schedule."
            )

    def _perturb(self, level: str, x: Tensor) -> Tensor:
        if self.is_paused:
            return x
        if self._phase == "train":
            return self._perturb_batch(level, x)
        images = [self._perturb_image(level, x[i : i + 1], i) for i in range(len(x))]
        return images[0] if len(images) == 1 else torch.cat(images)

    def _perturb_batch(self, level: str, x: Tensor) -> Tensor:
        assert self._noise is not None
        strength = strength_at(self._config.schedule, self.iteration, self._iterations)
        key: tuple[object, ...] = ("train", self._seed, self.iteration)
        if rank := comm.get_rank():  # each device has draws of its own
            key = (*key, f"rank {rank}")
        if strength == 0 or not self._is_acting(x.device, *key):
            return x
        generator = self._seeded_generator(x.device, *key, level)
        valid = self._valid_mask(x)
        noise = self._noise if strength == 1 else self._noise.scaled(strength)
        y = noise(x, generator, valid)
        tally = self._tallies.setdefault(level, _Tally())
        if tally.calls % self.MEASURE_EVERY == 0:
            self.measured[level] = tally.measure(x, y, valid)
        tally.calls += 1
        return y

    def _perturb_image(self, level: str, x: Tensor, number: int) -> Tensor:
        assert self._noise is not None
        key = ("eval", self.inputs[number]["image_id"], *([self._draw] if self._draw else []))
        if not self._is_acting(x.device, *key):
            return x
        generator = self._seeded_generator(x.device, *key, level)
        height, width = self.extent(number, x)
        crop = x[..., :height, :width].contiguous()  # the same bits with and without padding around
        noisy = self._noise(crop, generator)
        tally = self._tallies.setdefault(level, _Tally())
        tally.calls += 1
        tally.measure(crop, noisy, None)
        if crop.shape == x.shape:
            return noisy
        # What lies beyond the image is padding and stays as it was.
        y = x.clone()
        y[..., :height, :width] = noisy
        return y

    def _is_acting(self, device: torch.device, *key: object) -> bool:
        if self._config.probability == 1:
            return True
        # The key names no level: one decision for all levels of a forward pass.
        draw = torch.rand((), generator=self._seeded_generator(device, *key), device=device)
        return bool(draw < self._config.probability)

    def _seeded_generator(self, device: torch.device, *key: object) -> torch.Generator:
        generator = self._generators.setdefault(device, torch.Generator(device))
        # Unlike hash(), the digest is the same in every process. manual_seed takes 63 bits.
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
        generator.manual_seed(int.from_bytes(digest, "big") >> 1)
        return generator

    def _valid_mask(self, x: Tensor) -> Tensor | None:
        """Return N×1×H×W bool, False on padding; None where no image of the batch is padded."""
        extents = [self.extent(i, x) for i in range(len(x))]
        if all(extent == tuple(x.shape[-2:]) for extent in extents):
            return None
        valid = torch.zeros((len(x), 1, *x.shape[-2:]), dtype=torch.bool, device=x.device)
        for i, (height, width) in enumerate(extents):
            valid[i, :, :height, :width] = True
        return valid


def strength_at(schedule: NoiseScheduleConfig, iteration: int, iterations: int) -> float:
    """Return the share of the full strength, 0 to 1, that the schedule gives an iteration of a training."""
    if iteration < schedule.start or (schedule.stop is not None and iteration >= schedule.stop):
        return 0.0
    if schedule.shape == "constant":
        return 1.0
    full = schedule.full if schedule.full is not None else iterations
    share = min(1.0, (iteration - schedule.start + 1) / max(full - schedule.start, 1))
    return share if schedule.shape == "linear" else (1 - math.cos(math.pi * share)) / 2
