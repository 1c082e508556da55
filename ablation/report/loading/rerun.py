"""The command that computes a cell again, from its configuration alone."""

from __future__ import annotations

import shlex

from ablation.records.cells import Cell
from ablation.records.overrides import hydra_value

# Keys that the plan adds to a configuration; they cannot be set.
_DERIVED = ("dataset.content", "model.content")


def rerun_command(cell: Cell, sweep_name: str) -> str:
    """Return a shell command for this one cell, with every key of its configuration and the paths as typed.

    Args:
        cell: The cell.
        sweep_name: Sweep that the command adds to; if the run is completed there, nothing is left to do.
    """
    settings = {key: value for key, value in cell.config.items() if key not in _DERIVED}
    groups = {key: value for key, value in settings.items() if "." not in key and key != "seed"}
    # Groups come first, because they bring keys that the others then set. ++ also sets keys that a group lacks.
    words = [f"{key}={hydra_value(value)}" for key, value in groups.items() if value != "None"]
    words += [f"++{key}={hydra_value(value)}" for key, value in settings.items() if key not in groups]
    words.append(f"sweep.name={hydra_value(sweep_name)}")
    return shlex.join(["python", "-m", "ablation.run", *words])
