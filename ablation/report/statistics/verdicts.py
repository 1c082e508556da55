"""Which of the differences the rule claims, and all cells with noise taken together."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ablation.report.loading.factors import SIGMA
from ablation.report.statistics.aggregate import bootstrap_interval, iqm, mean, probability_of_improvement
from ablation.report.statistics.decision import Decision, decide
from ablation.report.statistics.estimates import Estimate


@dataclass(frozen=True)
class TestResults:
    """All estimates of the primary metric with their verdicts, and the decision that these come from."""

    estimates: tuple[Estimate, ...]
    decision: Decision

    @property
    def compared(self) -> tuple[Estimate, ...]:
        """The cells with noise that have a difference."""
        return tuple(e for e in self.estimates if e.pairs)

    @property
    def complete(self) -> tuple[Estimate, ...]:
        """Those that lack no pair because a training diverged, in the order of the decision's cells."""
        return tuple(e for e in self.compared if not e.is_partial)

    @property
    def sd(self) -> float | None:
        """Standard deviation of a paired difference over seeds, pooled over complete cells; None without two seeds."""
        spreads = [(e.pairs - 1, e.sd) for e in self.complete]
        degrees = sum(n for n, sd in spreads if sd is not None)
        return math.sqrt(sum(n * sd**2 for n, sd in spreads if sd is not None) / degrees) if degrees else None


def judge(estimates: Sequence[Estimate], strengths: Collection[str] = ()) -> TestResults:
    """Apply the joint rule to all cells of the primary metric that have a difference.

    A cell that lacks pairs because a training diverged has no verdict, and its family no trend: the seeds that
    survived are not those that were drawn.

    Args:
        estimates: Of the primary metric.
        strengths: Parameters of a noise type that set its sigma, such as noise.params.p. Cells that differ only in
            them and in noise.sigma form a family, whose trend over sigma is tested.
    """
    cells = [e for e in estimates if e.pairs and not e.is_partial]
    rows = pd.DataFrame([e.differences for e in cells]).sort_index(axis=1).to_numpy(np.float64)
    families = [_family(e, strengths) for e in cells]
    partial = {_family(e, strengths) for e in estimates if e.is_partial and not e.is_baseline}
    sigma = [math.nan if family in partial else e.sigma for e, family in zip(cells, families, strict=True)]
    decision = decide(rows, sigma, families)
    verdicts = iter(decision.cells)
    judged = (replace(e, verdict=next(verdicts)) if e.pairs and not e.is_partial else e for e in estimates)
    return TestResults(tuple(judged), decision)


def _family(e: Estimate, strengths: Collection[str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in e.factors.items() if name not in (SIGMA, *strengths))


@dataclass(frozen=True)
class AggregateEstimate:
    """All cells with noise taken together.

    Attributes:
        cells, seeds: How many.
        rows: Name, value, both ends of its 95 % interval over seeds, and format specification.
    """

    cells: int
    seeds: int
    rows: tuple[tuple[str, float, float, float, str], ...]


def aggregate_estimates(outcome: TestResults) -> AggregateEstimate | None:
    """Return mean, IQM and probability of improvement of all cells with noise, over the seeds that all of them have.

    Cells that lack pairs because a training diverged are left out. None below two cells or two seeds.
    """
    differences = pd.DataFrame([e.differences for e in outcome.complete])
    scores = differences.dropna(axis=1).sort_index(axis=1).to_numpy(np.float64)
    if min(scores.shape) < 2:
        return None
    none = np.zeros((len(scores), 1))
    rows = []
    for name, statistic, form, limits in (
        ("mean", mean, "+.1f", (-math.inf, math.inf)),
        ("IQM", iqm, "+.1f", (-math.inf, math.inf)),
        ("probability of improvement", lambda x: probability_of_improvement(x, none), ".2f", (0.0, 1.0)),
    ):
        ends = bootstrap_interval(scores, statistic)
        assert ends is not None  # there are two seeds at least
        low, high = np.clip(ends, *limits).tolist()
        rows.append((name, float(statistic(scores)), low, high, form))
    return AggregateEstimate(len(scores), scores.shape[1], tuple(rows))
