"""Logged training curves as columns: millions of numbers, so nothing here goes row by row, and nothing is read twice.

What was read stays in one file of arrays, as long as the logs keep their size and time of change. Whoever cannot read
or write that file reads the logs.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.records.atomic import replacing

_FORMAT = 1  # of the file of arrays; another number is not read
_LEAST = 100_000  # points that are not in the file; fewer are read from the logs in a moment

Stamp = tuple[int, int]  # nanoseconds of the last change, bytes


@dataclass(frozen=True, eq=False)
class _Curve:
    """One training's log: the points of the first metric, by iteration, then those of the next, `counts` of each.

    bad: lines that cannot be read.
    """

    stamp: Stamp
    metrics: tuple[str, ...]
    counts: tuple[int, ...]
    iteration: NDArray[np.int64]
    value: NDArray[np.float64]
    bad: int


def read_curves(files: Mapping[str, Path], kept: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """All numbers that trainings have logged, and by training how many lines cannot be read, where there are any.

    files: metrics.jsonl by training id; one that does not exist holds nothing. kept: the file of arrays.
    Returns: columns training_id, iteration (counted from 0), metric, value (no NaN), sorted by the first, third and
        second, names as categories; and the count of bad lines, without the last line.
    """
    known = _load(kept)
    curves = {}
    for training_id, path in sorted(files.items()):
        stamp = _stamp(path)
        if stamp is not None:
            before = known.get(training_id)
            curves[training_id] = before if before and before.stamp == stamp else _read(path, stamp)
    # The file is written as a whole: a new run or two are read again more quickly than it is written.
    if sum(len(curve.value) for name, curve in curves.items() if curve is not known.get(name)) >= _LEAST:
        with contextlib.suppress(OSError):  # a folder that is only to be read
            _save(kept, curves)
    return _long(curves), {name: curve.bad for name, curve in curves.items() if curve.bad}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: Path, stamp: Stamp) -> _Curve:
    entries, bad = _entries(path)
    points = list(_points(entries))
    return _Curve(
        stamp,
        tuple(metric for metric, _, _ in points),
        tuple(len(values) for _, _, values in points),
        _joined([iterations for _, iterations, _ in points], np.int64),
        _joined([values for _, _, values in points], np.float64),
        bad,
    )


def _entries(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The logged objects, and how many lines before the last cannot be read.

    A torn last line is the trace of a training that is writing, or was killed, and is no loss worth telling.
    """
    parsed = _parsed(path.read_text(encoding="utf-8", errors="replace").splitlines())
    readable = [_is_entry(entry) for entry in parsed]
    return [entry for entry, good in zip(parsed, readable, strict=True) if good], readable[:-1].count(False)


def _parsed(lines: Sequence[str]) -> list[Any]:
    """One value per line, None for what is no JSON."""
    # All lines at once take half the time of one by one, which is for files with a torn line.
    with contextlib.suppress(ValueError, RecursionError):
        together = json.loads(f"[{','.join(lines)}]")
        if len(together) == len(lines):
            return list(together)
    return [_parsed_line(line) for line in lines]


def _parsed_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_entry(value: Any) -> bool:
    if type(value) is not dict:
        return False
    iteration = value.get("iteration")
    return type(iteration) is int or (type(iteration) is float and math.isfinite(iteration))


def _points(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    """Metric, iterations and values. A resumed training logs some iterations twice: the later line counts."""
    if not entries:
        return
    table = pd.DataFrame.from_records(list(entries)).apply(pd.to_numeric, errors="coerce")
    table["iteration"] = table["iteration"].astype(np.int64)
    if not table["iteration"].is_monotonic_increasing or not table["iteration"].is_unique:
        table = table.groupby("iteration", as_index=False).last()
    iterations = table.pop("iteration").to_numpy()
    for metric in sorted(table.columns):
        values = table[metric].to_numpy(dtype=np.float64)
        is_there = ~np.isnan(values)
        if is_there.any():
            yield metric, iterations[is_there], values[is_there]


def _long(curves: Mapping[str, _Curve]) -> pd.DataFrame:
    names = sorted({name for curve in curves.values() for name in curve.metrics})
    place = {name: number for number, name in enumerate(names)}
    codes = [place[name] for curve in curves.values() for name in curve.metrics]
    counts = [count for curve in curves.values() for count in curve.counts]
    trainings = np.repeat(np.arange(len(curves), dtype=np.int32), [len(curve.value) for curve in curves.values()])
    columns = {
        "training_id": pd.Categorical.from_codes(trainings, pd.Index(list(curves), dtype=object)),
        "iteration": _joined([curve.iteration for curve in curves.values()], np.int64),
        "metric": pd.Categorical.from_codes(
            np.repeat(np.array(codes, dtype=np.int32), counts), pd.Index(names, dtype=object)
        ),
        "value": _joined([curve.value for curve in curves.values()], np.float64),
    }
    return pd.DataFrame(columns, copy=False)  # of millions of rows


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *parts])


def _load(path: Path) -> dict[str, _Curve]:
    """The curves that were kept; none where the file is missing, torn or of another format."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            heads = json.loads(str(arrays["heads"]))
            iteration, value = arrays["iteration"], arrays["value"]
        if heads.pop("format") != _FORMAT:
            return {}
        curves, start = {}, 0
        for name, (stamp, metrics, counts, bad) in heads.items():
            part = slice(start, start := start + sum(counts))
            curves[name] = _Curve(tuple(stamp), tuple(metrics), tuple(counts), iteration[part], value[part], bad)
    except Exception:  # numpy, zipfile and json raise many kinds for a torn file
        return {}
    return curves


def _save(path: Path, curves: Mapping[str, _Curve]) -> None:
    heads = {name: (curve.stamp, curve.metrics, curve.counts, curve.bad) for name, curve in curves.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            heads=np.array(json.dumps(heads | {"format": _FORMAT})),
            iteration=_joined([curve.iteration for curve in curves.values()], np.int64),
            value=_joined([curve.value for curve in curves.values()], np.float64),
        )
