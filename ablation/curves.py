"""Logged training curves as columns: millions of numbers, so nothing here goes row by row through pandas."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def read_curves(files: Mapping[str, Path]) -> tuple[pd.DataFrame, dict[str, int]]:
    """All numbers that trainings have logged, and by training how many lines cannot be read, where there are any.

    files: metrics.jsonl by training id; one that does not exist holds nothing.
    Returns: columns training_id, iteration (counted from 0), metric, value (no NaN), sorted by the first, third and
        second; and the count of bad lines, without the last line.
    """
    parts: list[tuple[str, str, dict[int, float]]] = []
    torn = {}
    for training_id, path in sorted(files.items()):
        entries, bad = _entries(path)
        parts += ((training_id, metric, points) for metric, points in sorted(_points(entries).items()))
        if bad:
            torn[training_id] = bad
    return _long(parts), torn


def _entries(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The logged objects, and how many lines before the last cannot be read.

    A torn last line is the trace of a training that is writing, or was killed, and is no loss worth telling.
    """
    if not path.is_file():
        return [], 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    parsed = _parsed(lines)
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
    if not isinstance(value, dict):
        return False
    iteration = value.get("iteration")
    return isinstance(iteration, (int, float)) and math.isfinite(iteration)


def _points(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Metric -> iteration -> value. A resumed training logs some iterations twice: the later line counts."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for entry in entries:
        iteration = int(entry["iteration"])
        for metric, value in entry.items():
            if isinstance(value, (int, float)) and not math.isnan(value):
                found[metric][iteration] = value
    found.pop("iteration", None)
    return found


def _long(parts: Sequence[tuple[str, str, dict[int, float]]]) -> pd.DataFrame:
    # Built as columns: a thousand trainings have millions of rows, and sorting these takes longer than reading them.
    counts = [len(points) for _, _, points in parts]
    ordered = [sorted(points) for _, _, points in parts]
    values = (points[i] for (_, _, points), iterations in zip(parts, ordered, strict=True) for i in iterations)
    columns = {
        "training_id": np.repeat(np.array([training_id for training_id, _, _ in parts], dtype=object), counts),
        "iteration": np.fromiter(itertools.chain.from_iterable(ordered), dtype=np.int64),
        "metric": np.repeat(np.array([metric for _, metric, _ in parts], dtype=object), counts),
        "value": np.fromiter(values, dtype=np.float64),
    }
    return pd.DataFrame(columns)
