"""One training on several devices: a process for each, which detectron2 calls a rank, and gradients averaged.

detectron2's own `launch` does the same; ours tells how far it is, hands a SIGTERM on, and leaves no process behind: one
rank that fails ends the others, which would wait for it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm
from torch import distributed

from ablation.config.schemas import RunConfig, validate_config
from ablation.data.build import build_dataset
from ablation.models.build import build_detector, resolve_device
from ablation.models.weights import save_weights
from ablation.processes import launch, progress
from ablation.processes.launch import Limits, TaskResult
from ablation.processes.progress import Progress
from ablation.processes.worker import Task
from ablation.records.errors import ConfigError, RunError
from ablation.records.failure import Failure
from ablation.records.paths import TrainingPaths
from ablation.training.trainer import Training

# How little a kind of failure says of its cause: a rank that loses another one raises some exception of torch's.
_UNTOLD = {"exception": 1, "joint": 2}
_TIMEOUT = timedelta(minutes=30)  # detectron2's


def train_on_devices(config: RunConfig, paths: TrainingPaths) -> dict[str, Any]:
    """Train on `schedule.devices` devices and leave the weights on disk; what the record says of the training.

    Raises:
        ConfigError: there are fewer devices.
        RunError: a rank failed, of the kind that it failed by.
    """
    count = config.schedule.devices
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    slots = _slots(count, resolve_device(config.sweep.device))
    arguments = (config.model_dump(), paths.folder, count, address)
    tasks = [Task(f"rank {rank}", train_rank, (rank, *arguments), paths.log) for rank in range(count)]
    launch.preload(["ablation.processes.preload"])
    relay = _Relay()
    outcomes = launch.launch(tasks, slots, Limits(is_joint=True), relay)
    if relay.failures:
        # What the others say is that they lost this one.
        cause = min(relay.failures, key=lambda failure: _UNTOLD.get(failure.kind, 0))
        error = RunError(cause.message)
        error.kind = cause.kind
        raise error
    told: dict[str, Any] = outcomes[0].result
    return told


def _slots(count: int, device: str) -> list[Mapping[str, str]]:
    """The environment of each rank: on GPUs each sees its own."""
    if device == "cpu":
        return [{} for _ in range(count)]
    there = torch.cuda.device_count()
    if count > there:
        raise ConfigError(
            f"schedule.devices must be <= {there}, which is how many GPUs this run has, got {count}. Give it more, or "
            "lower schedule.devices."
        )
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(there)))).split(",")
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:count]]


class _Relay:
    """Passes on what rank 0 tells, and keeps the failures in the order of their coming."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def started(self, name: str) -> None:
        pass

    def progressed(self, name: str, update: Progress) -> None:
        if name == "rank 0":
            progress.report_progress(update)

    def ended(self, outcome: TaskResult) -> None:
        if outcome.failure is not None:
            self.failures.append(outcome.failure)

    def stopping(self, is_killing: bool) -> None:
        pass

    def ticked(self) -> None:
        pass


def train_rank(rank: int, composed: Mapping[str, Any], folder: Path, count: int, address: str) -> dict[str, Any] | None:
    """In the process of a rank: train with the others; rank 0 saves the weights and says what was done."""
    config, paths = validate_config(composed), TrainingPaths(folder)
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING)  # into the training's log
    torch.set_num_threads(config.sweep.threads)
    backend = "nccl" if resolve_device(config.sweep.device) == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=address, world_size=count, rank=rank, timeout=_TIMEOUT)
    comm.create_local_process_group(count)
    dataset = build_dataset(config.dataset)
    training = Training(config, dataset, build_detector(config, dataset), paths)
    model = training.run()
    if rank == 0:
        save_weights(model, paths.weights)
    comm.synchronize()
    distributed.destroy_process_group()
    return training.told() if rank == 0 else None
