"""Means over seeds and seed-paired differences to the baseline.

The unit of analysis is the difference between a run and the baseline of the same seed (sigma 0), which cancels
what the seed decides: initial weights and data order. docs/statistics.md says how intervals and claims are made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from ablation.records.schema import Status
from ablation.report.loading.factors import SIGMA, is_noise
from ablation.report.statistics.decision import Verdict
from ablation.report.statistics.paired import FloatArray, MeanInterval, interval, sign_flip_p

Range = tuple[float, float]  # lowest and highest, in the unit of the metric
Resamples = Mapping[str, FloatArray]

_Table = Mapping[str, Sequence[Any]]  # columns by name


@dataclass(frozen=True)
class Estimate:
    """One metric of all seeds of one combination of factors.

    Attributes:
        factors: The combination.
        metric: By detectron2's name.
        sigma: Of the first cell; NaN if it is only measured.
        asked: Number of seeds that were requested.
        finished: Number of seeds whose run is completed, also one that did not measure this metric.
        n: Number of seeds that have a value.
        diverged: Number of seeds whose training diverged.
        diverged_baselines: Number of seeds whose baseline's training diverged.
        is_partial: True if a pair is missing for one of these reasons: the difference is that of the survivors.
        value: Mean over these seeds (percent for AP); None without any.
        interval: Of this mean, over seeds; None below two.
        differences: By rising seed the value minus that of the baseline; empty for the baseline itself.
        difference_interval: Of their mean; None if neither seeds nor images can be covered.
        is_baseline: True at sigma 0.
        verdict: Of the joint rule; None for the baseline and for all metrics but the primary one.
    """

    factors: Mapping[str, Any]
    metric: str
    sigma: float
    asked: int
    finished: int
    n: int
    diverged: int
    diverged_baselines: int
    is_partial: bool
    value: float | None
    interval: MeanInterval | None
    differences: Mapping[int, float]
    difference_interval: MeanInterval | None
    is_baseline: bool
    verdict: Verdict | None = None

    @property
    def pairs(self) -> int:
        """Number of seeds that have a baseline, too."""
        return len(self.differences)

    @property
    def divergence(self) -> str:
        """Say how many trainings diverged, as "diverged 3 of 8, baseline diverged 1 of 8"; empty if none did."""
        counts = {"diverged": self.diverged, "baseline diverged": self.diverged_baselines}
        parts = [f"{what} {count} of {self.asked}" for what, count in counts.items() if count]
        return ", ".join([*parts, *(["scored 0"] if parts and not self.is_partial else [])])

    @property
    def difference(self) -> float | None:
        """Mean paired difference; None without any pair."""
        return float(np.mean(list(self.differences.values()))) if self.differences else None

    @property
    def sd(self) -> float | None:
        """Standard deviation of the paired differences over seeds; None below two."""
        return float(np.std(list(self.differences.values()), ddof=1)) if self.pairs > 1 else None


def is_strength(runs: pd.DataFrame, factor: str) -> bool:
    """Return True if the factor is a noise type's own name for its sigma: one value for each sigma."""
    return factor.startswith("noise.params.") and bool(runs.groupby(SIGMA)[factor].nunique(dropna=False).max() == 1)


def estimate(
    runs: pd.DataFrame,
    factors: Sequence[str],
    metric: str,
    resampled: Resamples = MappingProxyType({}),
    images: int | None = None,
) -> list[Estimate]:
    """Return one estimate for each combination of factors, in the order of the rows, with or without a result.

    The baseline of a cell has its seed, its factors outside `noise` and sigma 0: the other keys of the noise have no
    meaning there, and all such cells share a run.

    Args:
        runs: As Sweep.runs.
        factors: Columns that tell the cells apart.
        metric: Column to estimate.
        resampled: By run_id the metric on bootstrap resamples of the test images, shape (B,), the same resamples for
            all runs. Intervals of cells whose runs all have them cover the choice of test images, too.
        images: Number of test images.
    """
    # Plain lists: a thousand cells times twenty metrics are many small groups, and pandas is slow at those.
    table = {name: runs[name].tolist() for name in dict.fromkeys((*factors, SIGMA, "seed", "run_id", "status"))}
    values = _values(runs, metric).tolist()
    settings = [f for f in factors if not is_noise(f)]
    quiet = [i for i, sigma in enumerate(table[SIGMA]) if sigma == 0]
    baselines = {
        key: (_by_seed(table, values, rows), _diverged_seeds(table, rows))
        for key, rows in _groups(table, settings, quiet).items()
    }
    nothing: tuple[dict[int, int], set[int]] = ({}, set())
    estimates = []
    for rows in _groups(table, factors, range(len(runs))).values():
        first = rows[0]
        own, diverged = _by_seed(table, values, rows), _diverged_seeds(table, rows)
        is_baseline = table[SIGMA][first] == 0
        baseline, lost = nothing if is_baseline else baselines.get(_key(table, settings, first), nothing)
        asked = {int(table["seed"][i]) for i in rows}
        lost = lost & asked
        pairs = {seed: (own[seed], baseline[seed]) for seed in sorted(own.keys() & baseline.keys())}
        differences = {seed: values[i] - values[j] for seed, (i, j) in pairs.items()}
        runs_of_pairs = [(table["run_id"][i], table["run_id"][j]) for i, j in pairs.values()]
        is_resampled = bool(pairs) and all(run_id in resampled for pair in runs_of_pairs for run_id in pair)
        draws = np.array([resampled[one] - resampled[base] for one, base in runs_of_pairs]) if is_resampled else None
        estimates.append(
            Estimate(
                factors={factor: table[factor][first] for factor in factors},
                metric=metric,
                sigma=float(table[SIGMA][first]),
                asked=len(asked),
                finished=len({table["seed"][i] for i in rows if table["status"][i] == Status.COMPLETED.value}),
                n=len(own),
                diverged=len(diverged),
                diverged_baselines=len(lost),
                is_partial=not (diverged <= own.keys() and lost <= baseline.keys()),
                value=float(np.mean([values[i] for i in own.values()])) if own else None,
                interval=interval(np.array([values[i] for i in own.values()])),
                differences=differences,
                difference_interval=interval(np.array(list(differences.values())), draws, images=images),
                is_baseline=is_baseline,
            )
        )
    return estimates


def baseline_spread(runs: pd.DataFrame, metric: str) -> Range | None:
    """Return the range of the metric over the distinct runs with sigma 0; None below two of them.

    Args:
        runs: Rows of Sweep.runs.
        metric: Column to look at.
    """
    values = _values(runs[runs[SIGMA] == 0].drop_duplicates("run_id"), metric).dropna()
    return (float(values.min()), float(values.max())) if len(values) >= 2 else None


def as_frame(estimates: Iterable[Estimate]) -> pd.DataFrame:
    """Return the frame of differences.csv: a row for each estimate, NaN for what does not exist.

    Its columns are the factors; metric, asked, seeds, value, value_low and value_high of the mean over seeds; n,
    difference, ci_low, ci_high and covers of the n paired differences to the baseline; p of the cell's own sign-flip
    test; p_adjusted of the joint rule and p_holm, both for the primary metric alone. If a training diverged, there is
    the column divergence, and a cell that lacks pairs for this reason has no p.
    """
    rows = [
        {
            **e.factors,
            "metric": e.metric,
            "asked": e.asked,
            "seeds": e.n,
            "value": math.nan if e.value is None else e.value,
            "value_low": e.interval.low if e.interval else math.nan,
            "value_high": e.interval.high if e.interval else math.nan,
            "n": e.pairs,
            "difference": math.nan if e.difference is None else e.difference,
            "ci_low": e.difference_interval.low if e.difference_interval else math.nan,
            "ci_high": e.difference_interval.high if e.difference_interval else math.nan,
            "covers": e.difference_interval.covers if e.difference_interval else "",
            "p": math.nan if e.is_partial else sign_flip_p(np.array(list(e.differences.values()))),
            "p_adjusted": e.verdict.p_joint if e.verdict else math.nan,
            "p_holm": e.verdict.p_holm if e.verdict else math.nan,
            "divergence": e.divergence,
        }
        for e in estimates
    ]
    frame = pd.DataFrame(rows)
    return frame if any(row["divergence"] for row in rows) else frame.drop(columns="divergence", errors="ignore")


def _values(runs: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Return the metric of each row, NaN unless the run completed or diverged and scores 0."""
    if metric not in runs:
        return pd.Series(math.nan, index=runs.index, dtype=float)
    return runs[metric].where(runs["status"].isin([Status.COMPLETED.value, Status.DIVERGED.value]))


def _by_seed(table: _Table, values: Sequence[float], rows: Sequence[int]) -> dict[int, int]:
    """Return the row of each seed that has a value."""
    return {int(table["seed"][i]): i for i in rows if math.isfinite(values[i])}


def _diverged_seeds(table: _Table, rows: Sequence[int]) -> set[int]:
    return {int(table["seed"][i]) for i in rows if table["status"][i] == Status.DIVERGED.value}


def _groups(table: _Table, factors: Sequence[str], rows: Iterable[int]) -> dict[tuple[str, ...], list[int]]:
    """Return the rows of each combination of factors, in their order."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        groups.setdefault(_key(table, factors, row), []).append(row)
    return groups


def _key(table: _Table, factors: Sequence[str], row: int) -> tuple[str, ...]:
    # As text: NaN (no sigma set) must equal itself, and 0 read as an integer must not differ from 0.0 within a column.
    return tuple(str(table[factor][row]) for factor in factors)
