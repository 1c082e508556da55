"""Factors of a sweep: the swept keys, those in which commands differ, and their order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ablation.records.cells import Cell, format_factor

SIGMA = "noise.sigma"


def swept(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return all swept keys but seed, and the keys that tell runs apart where the swept ones do not.

    Two commands may differ in a key that neither sweeps (schedule.iterations=100, then =200): a mean over their runs
    would mix two settings.
    """
    found = dict.fromkeys(key for cell in cells for key in cell.factors if key != "seed")
    settings: dict[tuple[Any, ...], dict[str, Cell]] = {}
    for cell in cells:
        setting = (cell.config.get("seed"), *(str(value_of(cell, f)) for f in found))
        settings.setdefault(setting, {})[cell.run_id] = cell
    for same in settings.values():
        configs = [cell.config for cell in same.values()]
        for key in dict.fromkeys(key for config in configs for key in config):
            if len({str(config.get(key)) for config in configs}) > 1 and not key.startswith("sweep."):
                found[key] = None
    return tuple(sorted(found, key=precedence))


def precedence(factor: str) -> tuple[bool, bool, bool, str]:
    """Return the key by which factors are sorted: settings first, then the noise type, sigma last."""
    # cells.jsonl has sorted keys, so the order as typed is lost. This one makes each table a list of curves over sigma.
    return factor == SIGMA, is_noise(factor), factor not in ("noise", "noise.type"), factor


def value_of(cell: Cell, factor: str) -> Any:
    """Return a factor's value in a cell's configuration; a group (noise, model) is looked up by its type or name."""
    for key in (factor, f"{factor}.type", f"{factor}.name"):
        if key in cell.config:
            return format_factor(cell.config[key])
    return format_factor(cell.factors.get(factor))


def is_noise(factor: str) -> bool:
    """Return True if the factor is part of the noise and so has no meaning at sigma 0."""
    return factor == "noise" or factor.startswith("noise.")


def format_value(value: Any) -> str:
    """Format a factor's value; NaN, a sigma that was not set, becomes "measured"."""
    if isinstance(value, float):
        return "measured" if math.isnan(value) else f"{value:g}"
    return str(value)
