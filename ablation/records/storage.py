"""Read and write records as JSON files."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import EnumMeta
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ablation.records.atomic import write_text
from ablation.records.errors import RecordError
from ablation.records.schema import SCHEMA_VERSION, Record, Status

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
        return _decode(data, kind)
    except (RecordError, TypeError, KeyError, ValueError) as error:
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


def _decode(data: Any, kind: type[_AnyRecord]) -> _AnyRecord:
    if type(data) is not dict:
        raise TypeError("it is no JSON object")
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"it has schema {data['schema_version']}")
    record: _AnyRecord = _convert(data, kind, "the record")
    return record


def _convert(value: Any, kind: Any, name: str) -> Any:
    """Return a JSON value as the type that a field of a record is annotated with.

    Raises:
        TypeError: it is of another type, or a field is missing or unknown.
        ValueError: it is no member of the enumeration.
    """
    if isinstance(kind, type) and is_dataclass(kind):
        if type(value) is not dict:
            raise TypeError(f"{name} must be an object, got {value!r:.40}")
        hints = _hints(kind)
        if unknown := set(value) - set(hints):
            raise TypeError(f"unknown fields {sorted(unknown)}")
        return kind(**{key: _convert(item, hints[key], key) for key, item in value.items()})
    if kind is Any or type(value) in _JSON_TYPES.get(kind, ()):
        return value
    if isinstance(kind, EnumMeta):
        return kind(value)
    return _convert_generic(value, kind, name)


def _convert_generic(value: Any, kind: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Mapping and type(value) is dict:
        if set(map(type, value.values())) <= set(_JSON_TYPES.get(inner[1], ())):  # thousands of metrics, at once
            return value
        return {key: _convert(item, inner[1], name) for key, item in value.items()}
    if origin is Sequence and type(value) is list:
        return tuple(_convert(item, inner[0], name) for item in value)
    if origin in (Union, UnionType):
        if value is None and type(None) in inner:
            return None
        # The first that fits the JSON type; only `levels` is of two kinds, a text or a list.
        fitting = [one for one in inner if one is not type(None) and (one is not str or type(value) is str)]
        return _convert(value, fitting[0], name)
    raise TypeError(f"{name} has a value of another type: {value!r:.40}")


_JSON_TYPES: Mapping[Any, tuple[type, ...]] = {
    str: (str,), int: (int,), float: (int, float), float | None: (int, float, type(None)),
}  # fmt: skip


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
