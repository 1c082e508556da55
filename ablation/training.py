"""One training: detectron2's trainer, hooks and writers, with noise, and a checkpoint to go on from bit by bit."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer
from detectron2.engine.hooks import IterationTimer, LRScheduler, PeriodicWriter
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from torch import nn

from ablation import progress
from ablation.config import RunConfig
from ablation.datasets.catalog import register, train_batches
from ablation.datasets.files import locate
from ablation.errors import Diverged, Interrupted
from ablation.injection import Injection
from ablation.models import build, load_weights
from ablation.progress import Progress
from ablation.record import LevelTelemetry, TrainingPaths, replacing, write_text

logger = logging.getLogger(__name__)


class Training:
    """A training that may have been interrupted before; `run` ends with the trained model.

    model: the detectron2 model; iterations: done so far; losses: the last smoothed losses by name;
    telemetry: what the noise did.
    """

    def __init__(self, config: RunConfig, cfg: CfgNode, paths: TrainingPaths) -> None:
        self._paths = paths
        seed_all_rng(config.seed)
        # The order of construction is DefaultTrainer's, and so is the order of the draws.
        self.model: nn.Module = build(cfg)
        self._optimizer = build_optimizer(cfg, self.model)
        self._scheduler = build_lr_scheduler(cfg, self._optimizer)
        self._injection = Injection(
            self.model, config.noise, phase="train", seed=config.seed, iterations=cfg.SOLVER.MAX_ITER
        )
        state = _read_checkpoint(paths.checkpoint)
        self.iterations = state["iteration"] if state else 0
        batches = train_batches(cfg, register(locate(config.dataset, "train")), self.iterations)
        self._trainer: Any = (AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer)(
            self.model, batches, self._optimizer
        )
        if state:
            self._restore(state)
        else:
            load_weights(self.model, cfg.MODEL.WEIGHTS)
        self._config = config
        self._total = cfg.SOLVER.MAX_ITER
        self._stop = _Stop()
        self.losses: dict[str, float] = {}

    @property
    def telemetry(self) -> Mapping[str, LevelTelemetry]:
        """What the noise did, by level."""
        return self._injection.telemetry()

    def run(self) -> nn.Module:
        """Train to the end and leave the weights on disk.

        Raises:
            Interrupted: SIGTERM came; the checkpoint holds the state.
            Diverged: a loss became infinite or NaN.
            NoiseNotApplied: the noise never acted.
        """
        if self.iterations:
            logger.info("Going on from iteration %d.", self.iterations)
        _forget_after(self._paths.metrics, self.iterations)
        self._trainer.register_hooks(self._hooks())
        with self._injection, self._stop:
            try:
                self._trainer.train(self.iterations, self._total)
            except FloatingPointError as error:
                at = f"at iteration {self.iterations + 1} of {self._total}"
                raise Diverged(f"The training diverged {at}: {str(error).splitlines()[0]}") from error
        self._injection.check_applied()
        return self.model

    def save(self) -> None:
        """Write the checkpoint: model, optimiser, schedule, telemetry and the states of the global generators."""
        state = {
            "iteration": self.iterations,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "noise": self._injection.state_dict(),
            "cpu_generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        if hasattr(self._trainer, "grad_scaler"):
            state["grad_scaler"] = self._trainer.grad_scaler.state_dict()
        with replacing(self._paths.checkpoint) as temporary:
            torch.save(state, temporary)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        self._injection.load_state_dict(state["noise"])
        if "grad_scaler" in state:
            self._trainer.grad_scaler.load_state_dict(state["grad_scaler"])
        torch.set_rng_state(state["cpu_generator"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_generators"])

    def _hooks(self) -> list[HookBase]:
        period, folder = self._config.sweep.log_period, str(self._paths.folder)
        writers = [
            JSONWriter(str(self._paths.metrics), window_size=period),
            TensorboardXWriter(folder, window_size=period, purge_step=self.iterations),
        ]
        return [
            IterationTimer(),
            LRScheduler(self._optimizer, self._scheduler),
            _NoiseIteration(self._injection),
            PeriodicWriter(writers, period=period),
            _Bookkeeping(self, self._stop, period, self._config.sweep.checkpoint_period),
        ]


class _NoiseIteration(HookBase):  # type: ignore[misc]
    """Tells the injection which iteration it is, and the writers what the noise did."""

    def __init__(self, injection: Injection) -> None:
        self._injection = injection

    def before_step(self) -> None:
        self._injection.iteration = self.trainer.iter
        self._injection.measured.clear()

    def after_step(self) -> None:
        for level, told in self._injection.measured.items():
            scalars = {"signal_rms": told.signal_rms, "noise_rms": told.noise_rms, "snr_db": told.snr_db}
            for name, value in scalars.items():
                if value is not None:
                    self.trainer.storage.put_scalar(f"noise/{level}/{name}", value, smoothing_hint=False)


class _Bookkeeping(HookBase):  # type: ignore[misc]
    """Counts, reports, saves, and stops when asked to."""

    def __init__(self, training: Training, stop: _Stop, log_period: int, checkpoint_period: int) -> None:
        self._training = training
        self._stop = stop
        self._log_period = log_period
        self._checkpoint_period = checkpoint_period
        self._started = time.perf_counter()
        self._first = 0

    def before_train(self) -> None:
        self._first = self.trainer.iter

    def after_step(self) -> None:
        training, done, total = self._training, self.trainer.iter + 1, self.trainer.max_iter
        training.iterations = done
        is_last = done == total
        if done % self._log_period == 0 or is_last:
            training.losses = _smoothed(self.trainer.storage, self._log_period)
            self._report(done, total)
        if self._stop.is_asked or (done % self._checkpoint_period == 0 and not is_last):
            training.save()
        if self._stop.is_asked:
            raise Interrupted(f"Interrupted at iteration {done} of {total}; the checkpoint is saved.")

    def _report(self, done: int, total: int) -> None:
        speed = (time.perf_counter() - self._started) / (done - self._first)
        loss = self._training.losses.get("total_loss")
        progress.tell(Progress("train", done, total, loss, speed * (total - done), 1 / speed))
        logger.info("Iteration %d of %d: loss %.4g, %.3f s per iteration.", done, total, loss or 0.0, speed)


class _Stop:
    """Remembers a SIGTERM that came during the block, so that the training can end between two iterations."""

    def __init__(self) -> None:
        self.is_asked = False
        self._previous: Any = None

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True


def _smoothed(storage: Any, window: int) -> dict[str, float]:
    latest = storage.latest_with_smoothing_hint(window)
    return {name: float(value) for name, (value, _) in latest.items() if "loss" in name}


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a torn file
        aside = path.with_suffix(".torn")
        path.replace(aside)
        logger.warning("%s cannot be read (%s); set aside as %s, training starts anew.", path, error, aside.name)
        return None
    return state


def _forget_after(metrics: Path, iteration: int) -> None:
    """Drop the lines that an interrupted training wrote after its checkpoint; it will write them again."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # torn by the interruption
            continue
        if entry["iteration"] < iteration:
            kept.append(line + "\n")
    write_text(metrics, "".join(kept))
