"""sweep.json: the commands that a sweep was given, what they could not run, what was found out about their data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablation.records.atomic import write_text
from ablation.records.cells import format_factor
from ablation.records.errors import RecordError


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a command: `command` as typed, `time`, `version`, `invalid` (factors and reason of each), `data` by split.

    Raises:
        RecordError: the file holds something else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    except ValueError as error:
        raise RecordError(f"{path} cannot be read: {error}. Remove it; it only lists the commands given.") from error
    write_text(path, json.dumps([*entries, entry], indent=1) + "\n")


def commands(path: Path) -> tuple[str, ...]:
    """The commands in sweep.json, without repetition."""
    return tuple(dict.fromkeys(str(entry["command"]) for entry in _given(path) if entry.get("command")))


def refusals(path: Path) -> tuple[str, ...]:
    """What the last command asked for and cannot run, each with its reason."""
    cells = _given(path)[-1].get("invalid", []) if _given(path) else []
    named = ((" ".join(f"{k}={format_factor(v)}" for k, v in c["factors"].items()), c["reason"]) for c in cells)
    return tuple(f"{factors}: {reason}" for factors, reason in named)


def data(path: Path) -> tuple[str, ...]:
    """The summary and the remarks of each split, of the last command."""
    found = _given(path)[-1].get("data", {}) if _given(path) else {}
    return tuple(f"{split}: {'; '.join(map(str, told))}" for split, told in found.items())


def _given(path: Path) -> list[dict[str, Any]]:
    """The entries of sweep.json; a report can do without them, so nothing in the file stops it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
