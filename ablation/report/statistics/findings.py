"""Findings: a sweep with the estimates and verdicts of its primary metric."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ablation.report.loading.factors import SIGMA
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.estimates import estimate, is_strength
from ablation.report.statistics.verdicts import TestResults, judge


@dataclass(frozen=True)
class Findings:
    """A sweep and the results of its tests: all that a report is made of.

    Attributes:
        sweep: The records as frames.
        outcome: Estimates, verdicts and the decision for the primary metric.
        images: Number of test images whose choice the intervals can cover; None if it is not known.
    """

    sweep: Sweep
    outcome: TestResults
    images: int | None = None

    @classmethod
    def of(cls, sweep: Sweep) -> Findings:
        """Estimate the primary metric of all cells and apply the rule to them."""
        resampled, images, damage = sweep.resamples(sweep.primary_metric)
        sweep = replace(sweep, remarks=(*sweep.remarks, *damage))
        covered = (resampled, images) if images != 1 else ()  # all resamples of one image are equal
        estimates = estimate(sweep.runs, grouping(sweep), sweep.primary_metric, *covered)
        outcome = judge(estimates, [f for f in sweep.factors if is_strength(sweep.runs, f)])
        return cls(sweep, outcome, images)


def grouping(sweep: Sweep) -> tuple[str, ...]:
    """Return the factors that tell the cells apart; sigma if none was swept."""
    return sweep.factors or (SIGMA,)


def shown_factors(sweep: Sweep) -> tuple[str, ...]:
    """Return the factors that take several values, which tell the rows of a table apart; sigma if none does."""
    return sweep.varied or (SIGMA,)
