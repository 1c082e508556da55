"""Reads and writes records as JSON files. Every file is written whole, so a reader sees the old one or the new one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from ablation.records.atomic import write_text
from ablation.records.errors import RecordError
from ablation.records.failure import Failure
from ablation.records.schema import (
    SCHEMA_VERSION,
    CorruptionScore,
    GridScore,
    LevelTelemetry,
    Record,
    Status,
    WeightsReport,
)


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically.

    Raises:
        RecordError: a value is NaN or infinite, which JSON cannot hold.
    """
    try:
        text = json.dumps(asdict(record), indent=1, allow_nan=False)
    except ValueError as error:
        raise RecordError(f"{path} cannot hold a value that is NaN or infinite.") from error
    write_text(path, text + "\n")


_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def read_record(path: Path, kind: type[_AnyRecord]) -> _AnyRecord | None:
    """Read a record; None when there is none.

    Raises:
        RecordError: the file is torn, is no JSON, or breaks the schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, OSError) as error:
        raise RecordError(f"{path} cannot be read as a record: {error}") from error
    try:
        return kind(**_decoded(data, kind))
    except (RecordError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} is not a {kind.__name__} of schema {SCHEMA_VERSION}: {error}") from error


def try_read_record(path: Path, kind: type[_AnyRecord]) -> _AnyRecord | None:
    """Read a record; None when there is none that can be read. Whoever does the work anew sets a torn one aside."""
    try:
        return read_record(path, kind)
    except RecordError:
        return None


def _decoded(data: dict[str, Any], kind: type[Record]) -> dict[str, Any]:
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"it has schema {data['schema_version']}")
    known = {f.name for f in fields(kind)}
    if unknown := set(data) - known:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    return {
        name: _READERS[name](value) if name in _READERS and value is not None else value for name, value in data.items()
    }


def _grid_score(data: Mapping[str, Any]) -> GridScore:
    return GridScore(**{**data, "telemetry": _telemetry(data["telemetry"])})


def _telemetry(data: Mapping[str, Any]) -> dict[str, LevelTelemetry]:
    return {level: LevelTelemetry(**told) for level, told in data.items()}


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "status": Status,
    "error": lambda told: Failure(**told),
    "telemetry": _telemetry,
    "weights": lambda told: WeightsReport(**told),
    "flags": tuple,
    "grid": lambda cells: tuple(map(_grid_score, cells)),
    "corruptions": lambda cells: tuple(CorruptionScore(**cell) for cell in cells),
}
