"""One training: detectron2's trainer, hooks and writers, with noise, and a checkpoint to go on from bit by bit."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import FrameType
from typing import Any

import torch
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer
from detectron2.engine.hooks import IterationTimer, LRScheduler, PeriodicWriter
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ablation.config.schemas import RunConfig
from ablation.data.loaders import register, train_batches
from ablation.data.splits import locate
from ablation.models.detector import Detector
from ablation.models.injection import Injection
from ablation.models.weights import load_weights, save_weights
from ablation.processes import progress
from ablation.processes.progress import Progress
from ablation.records.atomic import replacing
from ablation.records.errors import Diverged, Interrupted
from ablation.records.paths import TrainingPaths
from ablation.records.schema import LevelTelemetry, WeightsReport
from ablation.training.checkpoint import load_checkpoint, truncate_metrics
from ablation.training.hooks import NoiseIteration, Validation
from ablation.training.validation import ValidationLoss

logger = logging.getLogger(__name__)


class Training:
    """A training that may have been interrupted before; `run` ends with the trained model.

    model: the detectron2 model; iterations: done so far; losses: the last smoothed losses by name;
    telemetry: what the noise did; started_from: what became of the checkpoint of `model.weights`;
    trainer: detectron2's; least_validation_loss: that of the best weights so far, infinite where none was asked for.
    """

    def __init__(self, config: RunConfig, detector: Detector, paths: TrainingPaths) -> None:
        self._paths = paths
        seed_all_rng(config.seed + comm.get_rank())
        # The order of construction is DefaultTrainer's, and so is the order of the draws.
        self.model: nn.Module = detector.build().train()
        self._optimizer = detector.optimizer(self.model)
        self._scheduler = detector.scheduler(self._optimizer)
        self._total = detector.iterations
        self._injection = Injection(self.model, config.noise, phase="train", seed=config.seed, iterations=self._total)
        state = load_checkpoint(paths.checkpoint)
        self.iterations = state["iteration"] if state else 0
        name = register(locate(config.dataset, "train"))
        mapper = detector.mapper(name, augmented=True, annotated=True)
        batches = train_batches(detector.loader_config, mapper, name, self.iterations)
        kind = AMPTrainer if detector.is_amp else SimpleTrainer
        self.trainer: Any = kind(_parallel(self.model), batches, self._optimizer)
        self.started_from: WeightsReport | None = None
        self.least_validation_loss = math.inf
        if state:
            self._restore(state)
        else:
            self.started_from = load_weights(self.model, detector.weights, allow_pickle=config.model.allow_pickle)
        if self.started_from:
            logger.info("Started from %s.", self.started_from)
        self._config = config
        self._detector = detector
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
        if comm.is_main_process():
            truncate_metrics(self._paths.metrics, self.iterations)
        self.register_hooks()
        with self._injection, self._stop:
            try:
                self.trainer.train(self.iterations, self._total)
            except FloatingPointError as error:
                at = f"at iteration {self.iterations + 1} of {self._total}"
                raise Diverged(f"The training diverged {at}: {str(error).splitlines()[0]}") from error
        self._injection.check_applied()
        return self.model

    def told(self) -> dict[str, Any]:
        """What the record of a finished training says of it."""
        return {
            "iterations": self.iterations,
            "losses": self.losses,
            "weights": self.started_from,
            "telemetry": self.telemetry,
        }

    def save(self) -> None:
        """Write the checkpoint: model, optimiser, schedule, telemetry and the states of the global generators.

        Every rank must call it; one writes.
        """
        generators = comm.gather(
            {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
        )
        if comm.is_main_process():
            self._write(generators)
        comm.synchronize()  # no rank ends, and with it all of them, before the checkpoint is whole

    def _write(self, generators: Sequence[Mapping[str, Any]]) -> None:
        state = {
            "iteration": self.iterations,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "noise": self._injection.state_dict(),
            "least_validation_loss": self.least_validation_loss,
            "started_from": asdict(self.started_from) if self.started_from else None,
            "generators": generators,
        }
        if hasattr(self.trainer, "grad_scaler"):
            state["grad_scaler"] = self.trainer.grad_scaler.state_dict()
        with replacing(self._paths.checkpoint) as temporary:
            torch.save(state, temporary)
        if self._config.sweep.keep_checkpoints:
            save_weights(self.model, self._paths.kept(self.iterations))
            for old in self._paths.all_kept()[: -self._config.sweep.keep_checkpoints]:
                old.unlink(missing_ok=True)

    def validation_loss(self) -> ValidationLoss:
        """The losses on the test split of the run that trains; other runs that share the training do not ask."""
        return ValidationLoss(self._detector, locate(self._config.dataset, "test"), self._config.evaluation.batch_size)

    def _validation(self, period: int) -> Validation:
        loss = self.validation_loss()

        def losses() -> Mapping[str, float]:
            self._injection.is_paused = True
            try:
                return loss(self.model)
            finally:
                self._injection.is_paused = False

        return Validation(losses, self._keep_if_best, period)

    def _keep_if_best(self, loss: float) -> None:
        if loss < self.least_validation_loss:
            self.least_validation_loss = loss
            save_weights(self.model, self._paths.best)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        self._injection.load_state_dict(state["noise"])
        self.least_validation_loss = state["least_validation_loss"]
        self.started_from = WeightsReport(**state["started_from"]) if state["started_from"] else None
        if "grad_scaler" in state:
            self.trainer.grad_scaler.load_state_dict(state["grad_scaler"])
        generators = state["generators"][comm.get_rank()]
        torch.set_rng_state(generators["cpu"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(generators["cuda"])

    def register_hooks(self) -> None:
        """Give detectron2's trainer what goes around an iteration; `run` does it."""
        self.trainer.register_hooks(self._hooks())

    def _hooks(self) -> list[HookBase]:
        period, folder = self._config.sweep.log_period, str(self._paths.folder)
        bookkeeping = _Bookkeeping(self, self._stop, period, self._config.sweep.checkpoint_period)
        if not comm.is_main_process():
            return [LRScheduler(self._optimizer, self._scheduler), NoiseIteration(self._injection), bookkeeping]
        writers = [
            JSONWriter(str(self._paths.metrics), window_size=period),
            TensorboardXWriter(folder, window_size=period, purge_step=self.iterations),
        ]
        loss_period = self._config.evaluation.loss_period
        validation = [self._validation(loss_period)] if loss_period else []
        return [
            IterationTimer(),
            LRScheduler(self._optimizer, self._scheduler),
            NoiseIteration(self._injection),
            *validation,
            PeriodicWriter(writers, period=period),
            bookkeeping,
        ]


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
        if comm.is_main_process() and (done % self._log_period == 0 or is_last):
            training.losses = _smoothed(self.trainer.storage, self._log_period)
            self._report(done, total)
        is_asked = any(comm.all_gather(self._stop.is_asked))  # all ranks stop at one iteration, or none
        if is_asked or (done % self._checkpoint_period == 0 and not is_last):
            training.save()
        if is_asked:
            raise Interrupted(f"Interrupted at iteration {done} of {total}; the checkpoint is saved.")

    def _report(self, done: int, total: int) -> None:
        speed = (time.perf_counter() - self._started) / (done - self._first)
        loss = self._training.losses.get("total_loss")
        progress.report_progress(Progress("train", done, total, loss, speed * (total - done), 1 / speed))
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


def _parallel(model: nn.Module) -> nn.Module:
    """The model, whose gradients are averaged over the ranks where there are several."""
    if comm.get_world_size() == 1:
        return model
    on_gpu = next(model.parameters()).is_cuda
    return DistributedDataParallel(model, device_ids=[0] if on_gpu else None, broadcast_buffers=False)
