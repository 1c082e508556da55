"""One training on several devices: one process per device, which detectron2 calls a rank, with averaged gradients.

detectron2's own `launch` does the same. This one also reports progress, passes SIGTERM on, and leaves no process
behind: if a rank fails, the others, which would wait for it forever, are ended.
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
from ablation.models.build import build_detector, configure_torch, resolve_device
from ablation.models.weights import save_weights
from ablation.processes import launch
from ablation.processes.launch import Limits, PoolCallback, TaskResult
from ablation.processes.progress import Progress, report_progress
from ablation.processes.server import preload
from ablation.processes.worker import Task
from ablation.records.errors import ConfigError, RunError
from ablation.records.failure import Failure
from ablation.records.paths import TrainingPaths
from ablation.training.trainer import Training

# How little a kind of failure says about the cause: a rank that lost another one fails with some exception of torch.
_VAGUENESS = {"exception": 1, "joint": 2}
_TIMEOUT = timedelta(minutes=30)  # detectron2's


def train_on_devices(config: RunConfig, paths: TrainingPaths) -> dict[str, Any]:
    """Train on `schedule.devices` devices and save the weights.

    Returns:
        The fields of the training's record, see `Training.summary`.

    Raises:
        ConfigError: there are fewer devices.
        RunError: a rank failed; `kind` is that of the rank's failure.
    """
    count = config.schedule.devices
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    slots = _slots(count, resolve_device(config.sweep.device))
    arguments = (config.model_dump(), paths.folder, count, address)
    tasks = [Task(f"rank {rank}", train_rank, (rank, *arguments), paths.log) for rank in range(count)]
    preload(["ablation.preload"])
    relay = _Relay()
    results = launch.launch(tasks, slots, Limits(is_joint=True), relay)
    if relay.failures:
        cause = min(relay.failures, key=lambda failure: _VAGUENESS.get(failure.kind, 0))
        error = RunError(cause.message)
        error.kind = cause.kind
        raise error
    return dict(results[0].result)


def _slots(count: int, device: str) -> list[Mapping[str, str]]:
    if device == "cpu":
        return [{} for _ in range(count)]
    available = torch.cuda.device_count()
    if count > available:
        raise ConfigError(
            f"schedule.devices must be <= {available}, the number of GPUs of this run, got {count}. Give the run more "
            "GPUs or lower schedule.devices."
        )
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(available)))).split(",")
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:count]]


class _Relay(PoolCallback):
    """Passes on the progress of rank 0, and collects the failures in the order in which they happen."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def on_progress(self, name: str, progress: Progress) -> None:
        if name == "rank 0":
            report_progress(progress)

    def on_end(self, result: TaskResult) -> None:
        if result.failure is not None:
            self.failures.append(result.failure)


def train_rank(rank: int, composed: Mapping[str, Any], folder: Path, count: int, address: str) -> dict[str, Any] | None:
    """Train as one of `count` ranks, in a process of its own; rank 0 saves the weights and returns the summary."""
    config, paths = validate_config(composed), TrainingPaths(folder)
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING)  # into the training's log
    configure_torch(config.sweep)
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
    return training.summary() if rank == 0 else None
