"""Long-form frames from the records of a sweep."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from ablation.records.cells import Cell, format_factor
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.report.loading.factors import SIGMA, value_of
from ablation.report.loading.index import RecordIndex, identifier

_RATIOS = ("rPFN", "rPC")  # shares of a score; 0 of 0 is undefined


def runs(
    cells: Sequence[Cell],
    index: RecordIndex,
    factors: Sequence[str],
    metrics: Sequence[str],
    scored_zero: Collection[str],
) -> pd.DataFrame:
    """Return one row per cell, as Sweep.runs.

    Args:
        cells: Of the sweep.
        index: The records.
        factors: Swept keys.
        metrics: Names of the columns of metrics.
        scored_zero: Ids of the runs that score 0 in each metric that is defined, except in shares of another score.
    """
    rows = [
        {
            "run_id": cell.run_id,
            "training_id": cell.training_id,
            "status": index.status(cell.run_id),
            "seed": int(cell.config.get("seed", 0)),
            **{factor: value_of(cell, factor) for factor in factors},
            SIGMA: math.nan if cell.sigma is None else cell.sigma,
            **{metric: index.metrics(cell.run_id).get(metric) for metric in metrics},
        }
        for cell in cells
    ]
    table = pd.DataFrame(rows).astype(dict.fromkeys(metrics, float))
    keys = pd.DataFrame({name: _ranks(table[name]) for name in (*factors, "seed")})
    table = table.loc[keys.sort_values(list(keys), kind="stable").index].reset_index(drop=True)
    table = table.copy()  # in one piece: astype has made one of each metric, and pandas warns of more than a hundred
    measured = [m for m in metrics if m.rpartition("/")[2] not in _RATIOS and table[m].notna().any()]
    table.loc[table["run_id"].isin(scored_zero), measured] = 0.0
    return table


def _ranks(values: pd.Series[Any]) -> list[int]:
    """Rank numbers by size, then texts in the order in which they were first requested."""
    # NaN is no dictionary key, as it differs from itself; infinity sorts where it should, last of the numbers.
    keys = [math.inf if isinstance(v, float) and math.isnan(v) else v for v in values]
    order = sorted(dict.fromkeys(keys), key=lambda v: (1, 0) if isinstance(v, str) else (0, v))
    rank = {v: i for i, v in enumerate(order)}
    return [rank[v] for v in keys]


def levels(index: RecordIndex) -> pd.DataFrame:
    """Return the measured noise: phase (train or eval), id, level, calls, sigma (realised), snr_db (dB)."""
    rows = [
        ("train" if isinstance(r, TrainingRecord) else "eval", identifier(r), level, t.calls, t.sigma, t.snr_db)
        for r in index.records
        for level, t in r.telemetry.items()
    ]
    columns = ["phase", "id", "level", "calls", "sigma", "snr_db"]
    return pd.DataFrame(rows, columns=columns).astype({"sigma": float, "snr_db": float})


def grid(index: RecordIndex) -> pd.DataFrame:
    """Return scores under test noise: run_id, test_type, test_sigma, test_levels, draw, metric, value (percent)."""
    rows = [
        (run.run_id, cell.type, cell.sigma, format_factor(cell.levels), cell.draw, metric, value)
        for run in index.completed
        for cell in run.grid
        for metric, value in cell.metrics.items()
    ]
    columns = ["run_id", "test_type", "test_sigma", "test_levels", "draw", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).astype({"test_sigma": float, "value": float})


def corruptions(index: RecordIndex) -> pd.DataFrame:
    """Return scores on corrupted images: run_id, corruption, severity (1 to 5), metric, value (percent)."""
    rows = [
        (run.run_id, cell.corruption, cell.severity, metric, value)
        for run in index.completed
        for cell in run.corruptions
        for metric, value in cell.metrics.items()
    ]
    columns = ["run_id", "corruption", "severity", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float})


def with_zeros(scores: pd.DataFrame, run_ids: Collection[str]) -> pd.DataFrame:
    """Return a frame as `grid` or `corruptions`, in which these runs score 0 under every test of the others."""
    tests = scores[scores["value"].notna()].drop(columns=["run_id", "value"]).drop_duplicates()
    zeros = pd.DataFrame({"run_id": list(run_ids)}, dtype=object).merge(tests, how="cross").assign(value=0.0)
    return pd.concat([scores, zeros], ignore_index=True) if len(zeros) else scores


def error_shift(index: RecordIndex) -> pd.DataFrame:
    """Return TIDE's kinds of error: run_id, task (bbox or segm), kind, value (points of AP50)."""
    rows = [
        (run.run_id, task, kind, value)
        for run in index.completed
        for task, gains in run.error_shift.items()
        for kind, value in gains.items()
    ]
    return pd.DataFrame(rows, columns=["run_id", "task", "kind", "value"]).astype({"value": float})


def cost(index: RecordIndex, curves: pd.DataFrame) -> pd.DataFrame:
    """Return costs: phase (train or eval), id, seconds, peak_memory (MiB), iteration_seconds.

    Args:
        index: The records.
        curves: As Sweep.curves; iteration_seconds is the median of the logged times, NaN for an evaluation.
    """
    medians = curves[curves["metric"] == "time"].groupby("training_id", observed=True)["value"].median().to_dict()
    rows = [
        ("eval", r.run_id, r.evaluation_seconds, r.peak_memory, math.nan)
        if isinstance(r, RunRecord)
        else ("train", identifier(r), r.seconds, r.peak_memory, medians.get(identifier(r), math.nan))
        for r in index.records
        if r.status is Status.COMPLETED
    ]
    columns = ["phase", "id", "seconds", "peak_memory", "iteration_seconds"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))
