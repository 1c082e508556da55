"""The command that computes a cell again, from its configuration alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from ablation.records.cells import Cell

# Keys that the plan adds to a configuration; they cannot be set.
_DERIVED = ("dataset.content", "model.content")
# Texts that Hydra reads without quotes, except for those that it takes for another type.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_OTHER = re.compile(r"null|true|false|nan|inf", re.IGNORECASE)


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


def hydra_value(value: Any) -> str:
    """Format a value so that Hydra's override grammar reads it back with its type."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ",".join(map(hydra_value, value)) + "]"
        case Mapping():
            return "{" + ",".join(f"{key}:{hydra_value(v)}" for key, v in value.items()) + "}"
    text = str(value)
    if _PLAIN.fullmatch(text) and not _OTHER.fullmatch(text):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text).replace("${", r"\${")
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
