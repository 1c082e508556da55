"""A sweep and what the decision rule says about its primary metric: all that a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablation.report.loading.factors import SIGMA
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.estimates import TestResults, estimate, is_strength, judge

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Findings:
    """A sweep and what the rule says about its primary metric: all that a report is made of."""

    sweep: Sweep
    outcome: TestResults

    @classmethod
    def of(cls, sweep: Sweep) -> Findings:
        """Estimate the primary metric of all cells and ask the rule about them."""
        resampled, images = sweep.resamples(sweep.primary_metric)
        estimates = estimate(sweep.runs, grouping(sweep), sweep.primary_metric, resampled, images)
        return cls(sweep, judge(estimates, [f for f in sweep.factors if is_strength(sweep.runs, f)]))


def grouping(sweep: Sweep) -> tuple[str, ...]:
    """The factors that tell the cells apart; sigma where none was swept."""
    return sweep.factors or (SIGMA,)


def shown_factors(sweep: Sweep) -> tuple[str, ...]:
    """The factors that a table needs to tell its rows apart."""
    return sweep.varied or (SIGMA,)
