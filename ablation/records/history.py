"""sweep.json: the commands of a sweep, their invalid cells, and remarks on their data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablation.records.atomic import write_text
from ablation.records.cells import format_factor
from ablation.records.storage import set_aside


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a command to sweep.json; a damaged file is set aside.

    Args:
        path: the file; created if missing.
        entry: `command` as typed, `time` in seconds since the epoch, `version` of this package, `invalid` (factors
            and reason of each invalid cell) and `data` (summary and remarks by data set).
    """
    entries, reason = _read(path)
    if reason:
        set_aside(path, reason)
    write_text(path, json.dumps([*entries, entry], indent=1) + "\n")


def damage(path: Path) -> str:
    """Return why sweep.json cannot be read; an empty string if it can or does not exist."""
    return _read(path)[1]


def commands(path: Path) -> tuple[str, ...]:
    """Return the distinct commands in sweep.json, in the order of their first use."""
    return tuple(dict.fromkeys(str(entry["command"]) for entry in _read(path)[0] if entry.get("command")))


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
    return (_read(path)[0] or [{}])[-1]


def _read(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Return the commands, and why there are none in a damaged file. A report can do without them."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [], ""
    except (OSError, ValueError, RecursionError) as error:
        return [], str(error)
    is_history = type(entries) is list and all(map(_is_entry, entries))
    return (entries, "") if is_history else ([], "it is no list of commands")


def _is_entry(entry: Any) -> bool:
    if type(entry) is not dict:
        return False
    invalid, surveys = entry.get("invalid", []), entry.get("data", {})
    if type(invalid) is not list or type(surveys) is not dict:
        return False
    is_named = all(type(cell) is dict and type(cell.get("factors")) is dict and "reason" in cell for cell in invalid)
    return is_named and all(type(remarks) is list for remarks in surveys.values())
