"""One training: detectron2's trainer, hooks and writers with noise, and a checkpoint that resumes bit for bit."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, create_ddp_model
from detectron2.engine.hooks import IterationTimer, LRScheduler, PeriodicWriter
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from torch import nn

from ablation.config.schemas import RunConfig, SweepConfig
from ablation.data.dataset import Dataset
from ablation.data.loaders import draw_item_seed, register, train_batches
from ablation.models.detector import Detector
from ablation.models.injection import Injection
from ablation.models.weights import load_weights, save_weights
from ablation.processes.progress import Progress, report_progress
from ablation.processes.signals import handle_signals
from ablation.records.atomic import replacing
from ablation.records.errors import Diverged, Interrupted, first_line
from ablation.records.paths import TrainingPaths
from ablation.records.schema import LevelTelemetry, WeightsReport
from ablation.training.checkpoint import load_checkpoint, truncate_metrics
from ablation.training.hooks import NoiseIteration, Validation
from ablation.training.validation import ValidationLoss

logger = logging.getLogger(__name__)


class Training:
    """A training that starts from the pretrained weights, or resumes from its checkpoint if there is one.

    Attributes:
        model: the detectron2 model.
        trainer: detectron2's trainer.
        iterations: number of completed iterations.
        losses: the last smoothed losses by detectron2's names.
        started_from: how the weights of `model.weights` fitted; None if it started from random weights.
        least_validation_loss: that of the best weights so far; infinite if it was never computed.
        is_stop_requested: True after SIGTERM; the training ends between two iterations.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, detector: Detector, paths: TrainingPaths) -> None:
        self._paths = paths
        seed_all_rng(config.seed + comm.get_rank())
        # The order of construction is that of DefaultTrainer, so that the random draws are the same.
        self.model: nn.Module = detector.build().train()
        self._optimizer = detector.optimizer(self.model)
        self._scheduler = detector.scheduler(self._optimizer)
        self._total = detector.iterations
        self._injection = Injection(self.model, config.noise, phase="train", seed=config.seed, iterations=self._total)
        state = load_checkpoint(paths.checkpoint, self.model)
        self.iterations = state["iteration"] if state else 0
        name = register(dataset.split("train"))
        mapper = detector.mapper(name, augmented=True, annotated=True)
        seed = draw_item_seed()
        items, loader_config = detector.train_items(name), detector.loader_config
        batches = train_batches(items, mapper, loader_config, seed=seed, start=self.iterations)
        kind = AMPTrainer if detector.is_amp else SimpleTrainer
        device_ids = [0] if next(self.model.parameters()).is_cuda else None  # a rank sees one GPU
        parallel = create_ddp_model(self.model, device_ids=device_ids, broadcast_buffers=False)
        self.trainer: Any = kind(parallel, batches, self._optimizer)
        self.started_from: WeightsReport | None = None
        self.least_validation_loss = math.inf
        if state:
            self._restore(state)
        else:
            self.started_from = load_weights(self.model, detector.weights, allow_pickle=config.model.allow_pickle)
        if self.started_from:
            logger.info("Started from %s.", self.started_from)
        self._config = config
        self._dataset = dataset
        self._detector = detector
        self.is_stop_requested = False
        self.losses: dict[str, float] = {}

    @property
    def telemetry(self) -> Mapping[str, LevelTelemetry]:
        """Effect of the noise by level."""
        return self._injection.telemetry()

    def run(self) -> nn.Module:
        """Train to the end and return the model.

        Raises:
            Interrupted: SIGTERM was received; the checkpoint holds the state.
            Diverged: a loss became infinite or NaN.
            NoiseNotApplied: the noise was never applied.
        """
        if self.iterations:
            logger.info("Resumed at iteration %d.", self.iterations)
        if comm.is_main_process():
            truncate_metrics(self._paths.metrics, self.iterations, self._config.sweep.log_period)
        self.register_hooks()
        with self._injection, handle_signals(self._request_stop, signal.SIGTERM):
            try:
                self.trainer.train(self.iterations, self._total)
            except FloatingPointError as error:
                at = f"at iteration {self.iterations + 1} of {self._total}"
                raise Diverged(f"The training diverged {at}: {first_line(error)}") from error
        self._injection.check_applied()
        return self.model

    def summary(self) -> dict[str, Any]:
        """Return the fields of the record of a finished training."""
        return {
            "iterations": self.iterations,
            "losses": self.losses,
            "weights": self.started_from,
            "telemetry": self.telemetry,
        }

    def save(self) -> None:
        """Write the checkpoint: model, optimizer, scheduler, noise and the states of the global random generators.

        All ranks must call it; rank 0 writes.
        """
        generators = comm.gather({"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()})
        if comm.is_main_process():
            self._write_checkpoint(generators)
        comm.synchronize()  # a rank that ends ends all of them, so none may before the checkpoint is written

    def _write_checkpoint(self, generators: Sequence[Mapping[str, Any]]) -> None:
        state = {
            "iteration": self.iterations,
            "least_validation_loss": self.least_validation_loss,
            "started_from": asdict(self.started_from) if self.started_from else None,
            "generators": generators,
            **{name: part.state_dict() for name, part in self._stateful_parts.items()},
        }
        with replacing(self._paths.checkpoint) as temporary:
            torch.save(state, temporary)
        if self._config.sweep.keep_checkpoints:
            save_weights(self.model, self._paths.intermediate_weights(self.iterations))
            for old in self._paths.all_intermediate_weights()[: -self._config.sweep.keep_checkpoints]:
                old.unlink(missing_ok=True)

    def validation_loss(self) -> ValidationLoss:
        """Return the validation loss on the test split.

        The split is that of the run that trains; other runs that share the training compute none.
        """
        return ValidationLoss(self._detector, self._dataset.split("test"), self._config.evaluation.batch_size)

    def _validate(self, compute: ValidationLoss) -> Mapping[str, float]:
        """Return the validation losses without noise, and save the weights if they are the best so far."""
        self._injection.is_paused = True
        try:
            losses = compute(self.model)
        finally:
            self._injection.is_paused = False
        if losses["total_loss"] < self.least_validation_loss:
            self.least_validation_loss = losses["total_loss"]
            save_weights(self.model, self._paths.best)
        return losses

    @property
    def _stateful_parts(self) -> dict[str, Any]:
        """Everything with a state_dict, by its key in the checkpoint."""
        parts = {"model": self.model, "optimizer": self._optimizer, "scheduler": self._scheduler}
        scaler = {"grad_scaler": self.trainer.grad_scaler} if isinstance(self.trainer, AMPTrainer) else {}
        return {**parts, "noise": self._injection, **scaler}

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, part in self._stateful_parts.items():
            part.load_state_dict(state[name])
        self.least_validation_loss = state["least_validation_loss"]
        self.started_from = WeightsReport(**state["started_from"]) if state["started_from"] else None
        generators = state["generators"][comm.get_rank()]
        torch.set_rng_state(generators["cpu"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(generators["cuda"])

    def _request_stop(self, *_: object) -> None:
        self.is_stop_requested = True

    def register_hooks(self) -> None:
        """Register the hooks of this training in detectron2's trainer; `run` calls it."""
        period = self._config.sweep.log_period
        hooks: list[HookBase] = [LRScheduler(self._optimizer, self._scheduler), NoiseIteration(self._injection)]
        if comm.is_main_process():
            writers = [
                JSONWriter(str(self._paths.metrics), window_size=period),
                TensorboardXWriter(str(self._paths.folder), window_size=period, purge_step=self.iterations),
            ]
            loss_period = self._config.evaluation.loss_period
            if loss_period:
                hooks.append(Validation(partial(self._validate, self.validation_loss()), loss_period))
            hooks = [IterationTimer(), *hooks, PeriodicWriter(writers, period=period)]
        # The last hook, because it may end the training.
        hooks.append(_Bookkeeping(self, self._config.sweep))
        self.trainer.register_hooks(hooks)


class _Bookkeeping(HookBase):  # type: ignore[misc]
    """Counts iterations, reports progress, saves checkpoints, and stops the training on request."""

    def __init__(self, training: Training, settings: SweepConfig) -> None:
        self._training, self._settings = training, settings
        self._started = time.perf_counter()

    def after_step(self) -> None:
        training, done, total = self._training, self.trainer.iter + 1, self.trainer.max_iter
        training.iterations = done
        is_last = done == total
        if comm.is_main_process() and (done % self._settings.log_period == 0 or is_last):
            smoothed = self.trainer.storage.latest_with_smoothing_hint(self._settings.log_period)
            training.losses = {name: float(value) for name, (value, _) in smoothed.items() if "loss" in name}
            self._report(done, total)
        is_stopping = any(comm.all_gather(training.is_stop_requested))  # all ranks stop in the same iteration
        if is_stopping or (done % self._settings.checkpoint_period == 0 and not is_last):
            training.save()
        if is_stopping:
            raise Interrupted(f"Interrupted at iteration {done} of {total}; the checkpoint is saved.")

    def _report(self, done: int, total: int) -> None:
        speed = (time.perf_counter() - self._started) / (done - self.trainer.start_iter)
        loss = self._training.losses.get("total_loss")
        report_progress(Progress("train", done, total, loss, speed * (total - done), 1 / speed))
        logger.info("Iteration %d of %d: loss %.4g, %.3f s per iteration.", done, total, loss or 0.0, speed)
