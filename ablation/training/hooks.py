"""What goes around an iteration of detectron2's trainer: the noise is told when, the validation loss is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detectron2.engine import HookBase

from ablation.models.injection import Injection


class NoiseIteration(HookBase):  # type: ignore[misc]
    """Tells the injection which iteration it is, and the writers what the noise did."""

    def __init__(self, injection: Injection) -> None:
        self._injection = injection

    def before_step(self) -> None:
        """Before each iteration."""
        self._injection.iteration = self.trainer.iter
        self._injection.measured.clear()

    def after_step(self) -> None:
        """After each iteration."""
        for level, told in self._injection.measured.items():
            scalars = {"signal_rms": told.signal_rms, "noise_rms": told.noise_rms, "snr_db": told.snr_db}
            for name, value in scalars.items():
                if value is not None:
                    self.trainer.storage.put_scalar(f"noise/{level}/{name}", value, smoothing_hint=False)


class Validation(HookBase):  # type: ignore[misc]
    """Logs the losses on the test images every `period` iterations, and has the weights with the least kept."""

    def __init__(
        self, losses: Callable[[], Mapping[str, float]], keep_if_best: Callable[[float], None], period: int
    ) -> None:
        self._losses, self._keep_if_best, self._period = losses, keep_if_best, period

    def after_step(self) -> None:
        """After each iteration; acts on every period-th and on the last."""
        done = self.trainer.iter + 1
        if done % self._period and done != self.trainer.max_iter:
            return
        losses = self._losses()
        for name, value in losses.items():
            self.trainer.storage.put_scalar(f"validation/{name}", value, smoothing_hint=False)
        self._keep_if_best(losses["total_loss"])
