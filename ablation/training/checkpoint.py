"""What an interrupted training left, as far as it can be read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm

from ablation.records.atomic import write_text

logger = logging.getLogger(__name__)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint; rank 0 looks first, so that the others find a torn one set aside."""
    if comm.is_main_process():
        state = _read(path)
        comm.synchronize()
        return state
    comm.synchronize()
    return _read(path)


def _read(path: Path) -> dict[str, Any] | None:
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


def truncate_metrics(metrics: Path, iteration: int) -> None:
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
