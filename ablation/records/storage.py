"""Read and write records as JSON files."""

from __future__ import annotations

import json
import logging
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

logger = logging.getLogger(__name__)


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
    """Read a record; None if the file does not exist.

    Raises:
        RecordError: the file is damaged, is not JSON, or breaks the schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, OSError) as error:
        raise RecordError(f"{path} cannot be read as a record: {error}") from error
    try:
        return kind(**_decode(data, kind))
    except (RecordError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} is not a {kind.__name__} of schema {SCHEMA_VERSION}: {error}") from error


def try_read_record(path: Path, kind: type[_AnyRecord]) -> _AnyRecord | None:
    """Read a record; None if the file does not exist or cannot be read."""
    try:
        return read_record(path, kind)
    except RecordError:
        return None


def read_status(path: Path, kind: type[Record]) -> Status:
    """Return the status in a record of that kind; planned if the file does not exist or cannot be read."""
    record = try_read_record(path, kind)
    return Status.PLANNED if record is None else record.status


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file to *.torn, so that its stage starts again and nothing is lost."""
    aside = path.with_suffix(".torn")
    path.replace(aside)
    logger.warning("%s is damaged and was renamed to %s: %s", path, aside.name, reason)


def _decode(data: dict[str, Any], kind: type[Record]) -> dict[str, Any]:
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
    return {level: LevelTelemetry(**values) for level, values in data.items()}


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "status": Status,
    "error": lambda data: Failure(**data),
    "telemetry": _telemetry,
    "weights": lambda data: WeightsReport(**data),
    "flags": tuple,
    "grid": lambda scores: tuple(map(_grid_score, scores)),
    "corruptions": lambda scores: tuple(CorruptionScore(**score) for score in scores),
}
