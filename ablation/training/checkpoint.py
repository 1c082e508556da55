"""Read what an interrupted training left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm
from torch import nn

from ablation.records.atomic import write_text
from ablation.records.storage import set_aside

_KEYS = frozenset(
    ("iteration", "least_validation_loss", "started_from", "generators", "model", "optimizer", "scheduler", "noise")
)


def load_checkpoint(path: Path, model: nn.Module) -> dict[str, Any] | None:
    """Load a checkpoint of a model; None if there is none that can be resumed. A damaged file is set aside.

    All ranks must call it.
    """
    state: dict[str, Any] | None = None
    if not comm.is_main_process():
        comm.synchronize()  # rank 0 reads first, so that the others never see a damaged file
    if path.exists():
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            _check(loaded, model)
            state = loaded
        except Exception as error:  # torch raises many types for a damaged file
            set_aside(path, error)
    if comm.is_main_process():
        comm.synchronize()
    return state


def _check(state: Any, model: nn.Module) -> None:
    """Raise ValueError for what is no checkpoint of this model's training."""
    if lacking := sorted(_KEYS - state.keys()):
        raise ValueError(f"it lacks {', '.join(lacking)}")
    own = model.state_dict()
    if {name: x.shape for name, x in state["model"].items()} != {name: x.shape for name, x in own.items()}:
        raise ValueError("it is of another model")


def truncate_metrics(metrics: Path, iteration: int, period: int) -> None:
    """Drop the lines of metrics.jsonl that the training resumed at `iteration` writes again or that have no place.

    An interruption logs its last iteration, also between two multiples of the logging period. Of that line only the
    validation loss is kept. Lines that cannot be read are dropped.
    """
    if metrics.is_dir():
        set_aside(metrics, "it is a folder")
    if not metrics.exists():
        return
    lines = []
    for entry in _entries(metrics):
        is_extra = entry["iteration"] == iteration - 1 and iteration % period
        kept = {key: v for key, v in entry.items() if not is_extra or key.startswith(("iteration", "validation/"))}
        if entry["iteration"] < iteration and len(kept) > 1:
            lines.append(json.dumps(kept, sort_keys=True) + "\n")
    write_text(metrics, "".join(lines))


def _entries(metrics: Path) -> Iterator[dict[str, Any]]:
    for line in metrics.read_bytes().splitlines():
        try:
            entry = json.loads(line.decode())
        except (ValueError, RecursionError):  # cut off by the interruption, or damaged
            continue
        if type(entry) is dict and type(entry.get("iteration")) is int:
            yield entry
