"""What a grid varied: the swept keys, those that commands differ in, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ablation.records.cells import Cell, format_factor

SIGMA = "noise.sigma"


def swept(cells: Sequence[Cell]) -> tuple[str, ...]:
    """All swept keys but seed, and those that tell apart what the swept ones do not.

    Two commands may differ in a key that neither sweeps (schedule.iterations=100, then =200): averaging over
    their runs would mix two settings.
    """
    found = dict.fromkeys(key for cell in cells for key in cell.factors if key != "seed")
    settings: dict[tuple[Any, ...], dict[str, Cell]] = {}
    for cell in cells:
        key = (cell.config.get("seed"), *(str(value_of(cell, f)) for f in found))
        settings.setdefault(key, {})[cell.run_id] = cell
    for same in settings.values():
        if len(same) > 1:
            found |= dict.fromkeys(_differing(list(same.values())))
    return tuple(sorted(found, key=precedence))


def precedence(factor: str) -> tuple[bool, bool, bool, str]:
    """The key by which factors are sorted."""
    # cells.jsonl has sorted keys, so the order as typed is gone: settings first, then the type, sigma last,
    # which makes every table a list of curves over sigma.
    return factor == SIGMA, is_noise(factor), factor not in ("noise", "noise.type"), factor


def _differing(cells: Sequence[Cell]) -> Iterable[str]:
    keys = dict.fromkeys(key for cell in cells for key in cell.config)
    return (k for k in keys if len({str(c.config.get(k)) for c in cells}) > 1 and not k.startswith("sweep."))


def value_of(cell: Cell, factor: str) -> Any:
    """The value of a factor in a cell's configuration; a group (noise, model) is looked up by its type or name."""
    for key in (factor, f"{factor}.type", f"{factor}.name"):
        if key in cell.config:
            return format_factor(cell.config[key])
    return format_factor(cell.factors.get(factor))


def is_noise(factor: str) -> bool:
    """Whether the factor is part of the noise: it has no meaning at sigma 0."""
    return factor == "noise" or factor.startswith("noise.")


def format_value(value: Any) -> str:
    """A factor's value; "measured" for a sigma that nobody set."""
    if isinstance(value, float):
        return "measured" if math.isnan(value) else f"{value:g}"
    return str(value)
