"""sweep.json: the commands of a sweep, their invalid cells, and remarks on their data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablation.records.atomic import write_text
from ablation.records.cells import format_factor
from ablation.records.errors import RecordError


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a command to sweep.json.

    Args:
        path: the file; created if missing.
        entry: `command` as typed, `time` in seconds since the epoch, `version` of this package, `invalid` (factors
            and reason of each invalid cell) and `data` (summary and remarks by data set).

    Raises:
        RecordError: the file holds something else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    except ValueError as error:
        raise RecordError(f"{path} cannot be read: {error}. Remove it; it only lists the sweep's commands.") from error
    write_text(path, json.dumps([*entries, entry], indent=1) + "\n")


def commands(path: Path) -> tuple[str, ...]:
    """Return the distinct commands in sweep.json, in the order of their first use."""
    return tuple(dict.fromkeys(str(entry["command"]) for entry in _entries(path) if entry.get("command")))


def refusals(path: Path) -> tuple[str, ...]:
    """Return the invalid cells of the last command, as "factors: reason"."""
    return tuple(
        " ".join(f"{key}={format_factor(value)}" for key, value in cell["factors"].items()) + f": {cell['reason']}"
        for cell in _last_entry(path).get("invalid", [])
    )


def data(path: Path) -> tuple[str, ...]:
    """Return the summary and the remarks of each data set of the last command, as one string each."""
    surveys = _last_entry(path).get("data", {})
    return tuple(f"{name}: {'; '.join(map(str, remarks))}" for name, remarks in surveys.items())


def _last_entry(path: Path) -> dict[str, Any]:
    return (_entries(path) or [{}])[-1]


def _entries(path: Path) -> list[dict[str, Any]]:
    # A report can do without this file, so nothing in it is an error.
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
