"""Training curves from metrics.jsonl, as columns: millions of numbers, so no step goes row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.records.paths import SweepPaths
from ablation.records.schema import Status, TrainingRecord

_BATCH = 64  # logs parsed together: one call per log takes twice the time, one for all of them takes much memory
_TRAINING = "\0training"  # a name that no metric has
_KEYS = [_TRAINING, "iteration"]
_MOST_ITERATIONS = 2**53  # larger numbers are damage, and no integers in a frame
_ON_PERIOD = 0.75  # share of the logged iterations on one period; where less are, the period was changed


def read_curves(files: Mapping[str, Path]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read all numbers that trainings have logged.

    A resumed training logs some iterations twice: the later line counts, metric by metric. An interruption also logs
    an iteration between two of the logging period; it is left out, so that all trainings have the same iterations.

    Args:
        files: metrics.jsonl by training id; a missing file holds nothing.

    Returns:
        A frame with the columns training_id, iteration (counted from 0), metric and value (never NaN), sorted by the
        first, third and second, names as categories. And by training id the number of lines that cannot be read,
        where there are any; the beginning of an entry at the end does not count, since a training may be writing it or
        was killed there.
    """
    paths = {name: path for name, path in sorted(files.items()) if path.is_file()}
    numbered = list(enumerate(paths.values()))
    bad: dict[int, int] = {}
    tables = [
        _parse({number: path.read_bytes() for number, path in numbered[start : start + _BATCH]}, bad)
        for start in range(0, len(numbered), _BATCH)
    ]
    metrics = sorted({metric for table in tables for metric in table.columns[table.notna().any()]}.difference(_KEYS))
    parts = [_points(table, metrics) for table in tables]
    empty = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0))
    training, iteration, metric, value = map(np.concatenate, zip(empty, *parts, strict=True))
    columns = {
        "training_id": pd.Categorical.from_codes(training, pd.Index(list(paths), dtype=object)),
        "iteration": iteration,
        "metric": pd.Categorical.from_codes(metric, pd.Index(metrics, dtype=object)),
        "value": value,
    }
    return pd.DataFrame(columns, copy=False), {name: bad[n] for n, name in enumerate(paths) if n in bad}


def find_gaps(
    paths: SweepPaths, trainings: Mapping[str, object], curves: pd.DataFrame, bad_lines: Mapping[str, int]
) -> dict[str, str]:
    """Return by training what is missing in its curves.

    Args:
        paths: The sweep folder.
        trainings: Records by training id, or why there is none.
        curves: The curves that were read.
        bad_lines: Number of lines that cannot be read by training id.
    """
    last = curves.groupby("training_id", observed=True)["iteration"].max().to_dict()
    reasons = {}
    for training_id, record in trainings.items():
        metrics, logged = paths.training(training_id).metrics, last.get(training_id, -1) + 1
        expected = 0
        if isinstance(record, TrainingRecord) and record.status is Status.COMPLETED:
            expected = record.iterations
        where = f"trainings/{training_id}/{metrics.name}"
        if bad := bad_lines.get(training_id):
            reasons[training_id] = f"{bad} line{'s' * (bad > 1)} of {where} cannot be read; the curve has gaps."
        elif metrics.exists() and not metrics.is_file():
            reasons[training_id] = f"{where} is no file; the curve is missing."
        elif metrics.exists() and logged < expected:
            reasons[training_id] = f"{where} ends after {logged} of {expected} iterations."
    return reasons


def _parse(texts: Mapping[int, bytes], bad: dict[int, int]) -> pd.DataFrame:
    """Return a row for each line, in order: training, iteration and a column for each metric; count bad lines."""
    table = _parse_numbers(texts)
    if table is not None:
        return table
    if len(texts) == 1:
        return _parse_lines(*next(iter(texts.items())), bad)
    # One torn log spoils its batch: halve the batch until that log is alone.
    numbers = list(texts)
    halves = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
    return pd.concat([_parse({n: texts[n] for n in half}, bad) for half in halves], ignore_index=True)


def _parse_numbers(texts: Mapping[int, bytes]) -> pd.DataFrame | None:
    """Parse whole logs of numbers, five times as fast as line by line; None if they hold anything else."""
    import pyarrow
    from pyarrow import json as arrow_json

    if any(b"[" in text for text in texts.values()):
        return None
    whole = {number: text if text.endswith(b"\n") else text + b"\n" for number, text in texts.items() if text}
    lines = [text.count(b"\n") for text in whole.values()]
    # Arrow ignores where lines end: each must end an object and hold one iteration. Deep nesting would crash it.
    marks = (b"{", b"}\n", b'"iteration"')
    if any([text.count(mark) for text in whole.values()] != lines for mark in marks):
        return None
    try:
        read = arrow_json.read_json(pyarrow.BufferReader(b"".join(whole.values())))
        are_numbers = all(pyarrow.types.is_integer(t) or pyarrow.types.is_floating(t) for t in read.schema.types)
        if not are_numbers or not pyarrow.types.is_integer(read["iteration"].type) or read["iteration"].null_count:
            return None
        table: pd.DataFrame = read.to_pandas()
    except (ValueError, pyarrow.ArrowException):  # also of a name that is not UTF-8
        return None
    if not table["iteration"].between(0, _MOST_ITERATIONS, inclusive="left").all():
        return None
    table[_TRAINING] = np.repeat(np.array(list(whole), np.int32), lines)
    return table


def _parse_lines(training: int, text: bytes, bad: dict[int, int]) -> pd.DataFrame:
    lines = text.splitlines()
    parsed = [_parse_line(line) for line in lines]
    if parsed and parsed[-1] is None and lines[-1].startswith(b"{") and not text.endswith(b"\n"):  # torn
        parsed.pop()
    if unreadable := parsed.count(None):
        bad[training] = unreadable
    table = pd.DataFrame.from_records([entry for entry in parsed if entry]).apply(pd.to_numeric, errors="coerce")
    table[_TRAINING] = np.full(len(table), training, np.int32)
    return table if len(table) else pd.DataFrame(columns=_KEYS, dtype=np.int64)


def _parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the logged object; None if the line holds none or none with an iteration."""
    try:
        entry = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    iteration = entry.get("iteration") if type(entry) is dict else None
    if isinstance(iteration, bool) or not isinstance(iteration, (int, float)):
        return None
    return entry if 0 <= iteration < _MOST_ITERATIONS else None


def _points(table: pd.DataFrame, metrics: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Return training, iteration, position of the metric and value of each number, in the order of read_curves."""
    table = table.astype(dict.fromkeys(_KEYS, np.int64))
    is_next = (np.diff(table[_TRAINING]) > 0) | (np.diff(table["iteration"]) > 0)
    if not is_next.all():
        table = table.groupby(_KEYS, as_index=False).last()
    _drop_interruptions(table)
    values = table.reindex(columns=list(metrics)).to_numpy(dtype=np.float64).T
    metric, row = np.nonzero(~np.isnan(values))
    training = table[_TRAINING].to_numpy(np.int32)[row]
    order = np.argsort(training, kind="stable")
    row, metric = row[order], metric[order]
    return training[order], table["iteration"].to_numpy()[row], metric.astype(np.int32), values[metric, row]


def _drop_interruptions(table: pd.DataFrame) -> None:
    """Clear the few rows of each training that are off its logging period, except for the last and validation losses.

    Args:
        table: Sorted by training and iteration; changed in place.
    """
    if "total_loss" not in table:
        return
    logged = table.index[table["total_loss"].notna()]
    if logged.empty:
        return
    trainings, iterations = (table.loc[logged, key].to_numpy() for key in _KEYS)
    extra = []
    for rows in np.split(np.arange(len(logged)), np.flatnonzero(np.diff(trainings)) + 1):
        steps, counts = np.unique(np.diff(iterations[rows], prepend=-1), return_counts=True)
        is_extra = (iterations[rows[:-1]] + 1) % steps[counts.argmax()] != 0
        if is_extra.sum() <= (1 - _ON_PERIOD) * len(rows):
            extra.append(logged[rows[:-1][is_extra]])
    metrics = [name for name in table if name not in _KEYS and not str(name).startswith("validation/")]
    for rows in extra:
        table.loc[rows, metrics] = np.nan
