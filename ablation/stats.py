"""What the runs say: means over seeds and seed-paired differences to the baseline, with honest intervals.

The unit of analysis is the difference between a run and the baseline of the same seed (sigma 0), which cancels
what the seed decides: initial weights and data order. The intervals are Student's t intervals over seeds. They
cover the variance of repeated training, not that of the choice of test images; with one seed there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ablation.record import Status
from ablation.table import SIGMA, is_noise

CONFIDENCE = 0.95

FloatArray = NDArray[np.float64]

_Table = Mapping[str, Sequence[Any]]  # columns by name


class Interval(NamedTuple):
    """Both ends of an interval, in the unit of the metric."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """One cell group, all its seeds taken together.

    factors: the group. asked: cells asked for; n: seeds with a value.
    value: mean over the n seeds (percent for AP), None when n is 0; interval: of this mean, None below two seeds.
    pairs: seeds that also have a baseline; difference: mean paired difference to it, None for the baseline itself;
    difference_interval: None below two pairs.
    """

    factors: Mapping[str, Any]
    metric: str
    asked: int
    n: int
    value: float | None
    interval: Interval | None
    pairs: int
    difference: float | None
    difference_interval: Interval | None
    is_baseline: bool


def t_interval(values: FloatArray, confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval of the mean of independent values; None below two of them.

    values: shape (S,), one per seed.
    """
    count = len(values)
    if count < 2:
        return None
    half = float(stdtrit(count - 1, (1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(count))
    mean = float(values.mean())
    return Interval(mean - half, mean + half)


def paired_differences(values: Mapping[int, float], baseline: Mapping[int, float]) -> FloatArray:
    """Differences value - baseline of the seeds that have both, shape (P,), by rising seed.

    values, baseline: seed -> metric; NaN counts as missing.
    """
    both = sorted(values.keys() & baseline.keys())
    differences = np.array([values[seed] - baseline[seed] for seed in both], dtype=np.float64)
    return differences[np.isfinite(differences)]


def spread(values: FloatArray) -> Interval | None:
    """Smallest and largest of the finite values, shape (S,); None below two of them."""
    finite = values[np.isfinite(values)]
    return Interval(float(finite.min()), float(finite.max())) if len(finite) >= 2 else None


def smallest_p(seeds: int) -> float:
    """Smallest two-sided p that an exact sign-flip test of this many paired differences can reach."""
    return min(1.0, 2.0 ** (1 - seeds))


def estimate(runs: pd.DataFrame, factors: Sequence[str], metric: str) -> list[Estimate]:
    """One estimate per combination of factors, in the order of the rows; also for those without a result.

    runs: as Sweep.runs. The baseline of a cell has its seed, its factors outside `noise` and sigma 0: what else
    noise.* says has no meaning at sigma 0, and all such cells share a run.
    """
    # Plain lists: a thousand cells times twenty metrics are many small groups, and pandas is slow at those.
    table = {name: runs[name].tolist() for name in dict.fromkeys((*factors, SIGMA, "seed"))}
    values = _values(runs, metric).tolist()
    settings = [f for f in factors if not is_noise(f)]
    quiet = [i for i, sigma in enumerate(table[SIGMA]) if sigma == 0]
    baselines = {key: _by_seed(table, values, where) for key, where in _groups(table, settings, quiet).items()}
    estimates = []
    for where in _groups(table, factors, range(len(runs))).values():
        first = where[0]
        own, baseline = _by_seed(table, values, where), baselines.get(_key(table, settings, first), {})
        shown = {factor: table[factor][first] for factor in factors}
        asked = len({table["seed"][i] for i in where})
        estimates.append(_estimate(shown, metric, asked, own, baseline, table[SIGMA][first] == 0))
    return estimates


def baseline_spread(runs: pd.DataFrame, metric: str) -> Interval | None:
    """Range of the metric over the distinct runs with sigma 0; None below two of them.

    runs: rows of one panel, as Sweep.runs.
    """
    baseline = runs[runs[SIGMA] == 0].drop_duplicates("run_id")
    return spread(_values(baseline, metric).to_numpy(dtype=np.float64))


def as_frame(estimates: Iterable[Estimate]) -> pd.DataFrame:
    """Estimates as differences.csv has them: one row each, NaN for what does not exist.

    Columns: the factors, metric, asked, seeds, value, value_low, value_high (all of the mean over seeds), then n,
    difference, ci_low, ci_high (of the n paired differences to the baseline).
    """
    return pd.DataFrame([_row(e) for e in estimates])


def _estimate(
    factors: Mapping[str, Any],
    metric: str,
    asked: int,
    own: Mapping[int, float],
    baseline: Mapping[int, float],
    is_baseline: bool,
) -> Estimate:
    values = np.array([own[seed] for seed in sorted(own)], dtype=np.float64)
    differences = np.array([]) if is_baseline else paired_differences(own, baseline)
    return Estimate(
        factors=factors,
        metric=metric,
        asked=asked,
        n=len(values),
        value=float(values.mean()) if len(values) else None,
        interval=t_interval(values),
        pairs=len(differences),
        difference=float(differences.mean()) if len(differences) else None,
        difference_interval=t_interval(differences),
        is_baseline=is_baseline,
    )


def _values(runs: pd.DataFrame, metric: str) -> pd.Series[float]:
    """The metric of each row, NaN unless the run is completed."""
    if metric not in runs:
        return pd.Series(math.nan, index=runs.index, dtype=float)
    return runs[metric].where(runs["status"] == Status.COMPLETED.value)


def _by_seed(table: _Table, values: Sequence[float], where: Sequence[int]) -> dict[int, float]:
    return {int(table["seed"][i]): values[i] for i in where if math.isfinite(values[i])}


def _groups(table: _Table, factors: Sequence[str], rows: Iterable[int]) -> dict[tuple[str, ...], list[int]]:
    """The rows of each combination of factors, in their order."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        groups.setdefault(_key(table, factors, row), []).append(row)
    return groups


def _key(table: _Table, factors: Sequence[str], row: int) -> tuple[str, ...]:
    # As text: NaN (no sigma set) must equal itself, and 0 read as an integer must not differ from 0.0 within a column.
    return tuple(str(table[factor][row]) for factor in factors)


def _row(e: Estimate) -> dict[str, Any]:
    low, high = e.interval or (math.nan, math.nan)
    ci_low, ci_high = e.difference_interval or (math.nan, math.nan)
    return {
        **e.factors,
        "metric": e.metric,
        "asked": e.asked,
        "seeds": e.n,
        "value": math.nan if e.value is None else e.value,
        "value_low": low,
        "value_high": high,
        "n": e.pairs,
        "difference": math.nan if e.difference is None else e.difference,
        "ci_low": ci_low,
        "ci_high": ci_high,
    }
