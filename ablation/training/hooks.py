"""Hooks of detectron2's trainer for the noise and the validation loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detectron2.engine import HookBase

from ablation.models.injection import Injection


class NoiseIteration(HookBase):  # type: ignore[misc]
    """Passes the iteration to the injection, and the effect of the noise to the writers."""

    def __init__(self, injection: Injection) -> None:
        self._injection = injection

    def before_step(self) -> None:
        """Set the iteration and forget the measurements of the last one."""
        self._injection.iteration = self.trainer.iter
        self._injection.measured.clear()

    def after_step(self) -> None:
        """Log the effect of the noise by level."""
        for level, telemetry in self._injection.measured.items():
            for name in ("signal_rms", "noise_rms", "snr_db"):
                if (value := getattr(telemetry, name)) is not None:
                    self.trainer.storage.put_scalar(f"noise/{level}/{name}", value, smoothing_hint=False)


class Validation(HookBase):  # type: ignore[misc]
    """Logs the losses on the test images every `period` iterations and in the last one."""

    def __init__(self, validate: Callable[[], Mapping[str, float]], period: int) -> None:
        self._validate, self._period = validate, period

    def after_step(self) -> None:
        """Compute the losses if they are due."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for name, value in self._validate().items():
                self.trainer.storage.put_scalar(f"validation/{name}", value, smoothing_hint=False)
