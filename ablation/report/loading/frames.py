"""Long-form frames from the records of a sweep, for all that is more than one number per run and metric."""

from __future__ import annotations

import math
from collections.abc import Collection

import pandas as pd

from ablation.records.cells import format_factor
from ablation.records.schema import RunRecord, Status, TrainingRecord
from ablation.report.loading.index import RecordIndex, identifier


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
