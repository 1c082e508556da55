"""The rule by which a sweep claims effects: one joint exact test of all its trends and cells.

The hypotheses are every cell's difference to the baseline and, for each family of cells that differ in sigma alone,
its trend. All share one step-down max-T sign-flip test (ablation.paired.joint_p), so that the chance of any false claim
is at most alpha, and a dose response is tested along with the single cells without spending alpha of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablation.report.statistics.paired import (
    FloatArray,
    MeanInterval,
    holm,
    interval,
    joint_p,
    least_seeds,
    sign_flip_p,
    slope_weights,
)


@dataclass(frozen=True)
class Verdict:
    """What the rule says about one hypothesis.

    effect: of a cell its mean paired difference; of a trend the change of its fitted line from the lowest sigma to the
        highest, the baseline's 0 included. In points; NaN without any pair.
    seeds: pairs. p: of its own sign-flip test. p_holm, p_joint: adjusted for all tested hypotheses; NaN if not tested.
    is_claimed: p_joint is below alpha; Holm's is for comparison.
    """

    effect: float
    seeds: int
    p: float
    p_holm: float
    p_joint: float
    is_claimed: bool


@dataclass(frozen=True)
class TrendVerdict(Verdict):
    """Verdict on the dose response of a family.

    family: its name. slope: mean over seeds, points per unit of sigma; effect is slope times the range of sigma.
    interval: 95 % t interval of the effect over seeds, for this trend alone; None below two seeds.
    """

    family: str
    slope: float
    interval: MeanInterval | None


@dataclass(frozen=True)
class Decision:
    """Verdicts of a whole sweep for its primary metric.

    cells: in the order given. trends: one for each family with at least two sigmas above 0, by first appearance.
    tested: hypotheses that share alpha. needed: fewest seeds with which anything can be claimed.
    reason: why nothing can be claimed, as a sentence; empty if something could have been.
    """

    cells: tuple[Verdict, ...]
    trends: tuple[TrendVerdict, ...]
    alpha: float
    tested: int
    needed: int
    reason: str


def decide(
    differences: FloatArray,
    sigma: Sequence[float] | None = None,
    family: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> Decision:
    """Apply the rule to all cells of a sweep with noise.

    differences: shape (cells, seeds), points to the baseline of the same seed; NaN is a missing pair. A hypothesis with
        fewer pairs than a sign-flip test can decide (6 at alpha 0.05) is not tested and not counted.
    sigma: one per cell, NaN if only measured. family: one name per cell, the same for cells that differ in sigma alone.
        Without either, no trend is tested.

    Raises:
        ValueError: lengths that do not fit.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 2:
        raise ValueError(f"differences must be (cells, seeds), got {differences.shape}.")
    trends = [] if sigma is None or family is None else _trends(differences, np.asarray(sigma, dtype=float), family)
    rows = np.vstack([changes for _, changes, _ in trends] + [differences])
    pairs, needed = np.isfinite(rows).sum(axis=1), least_seeds(alpha)
    tested = pairs >= needed
    kept = np.where(tested[:, None], rows, math.nan)
    p = np.array([sign_flip_p(row) for row in rows])
    adjusted, joint = holm(np.where(tested, p, math.nan)), joint_p(kept)
    verdicts = [
        Verdict(_mean(row), int(n), float(own), float(h), float(j), bool(j < alpha))
        for row, n, own, h, j in zip(rows, pairs, p, adjusted, joint, strict=True)
    ]
    return Decision(
        cells=tuple(verdicts[len(trends) :]),
        trends=tuple(
            TrendVerdict(
                **vars(verdict),
                family=name,
                slope=verdict.effect / span,
                interval=interval(changes[np.isfinite(changes)]),
            )
            for verdict, (name, changes, span) in zip(verdicts, trends, strict=False)
        ),
        alpha=alpha,
        tested=int(tested.sum()),
        needed=needed,
        reason="" if tested.any() else _reason(int(pairs.max(initial=0)), needed, alpha),
    )


def _trends(differences: FloatArray, sigma: FloatArray, family: Sequence[str]) -> list[tuple[str, FloatArray, float]]:
    """Name, change of each seed's fitted line over the range of sigma (shape (seeds,)), and this range."""
    if not len(sigma) == len(family) == len(differences):
        raise ValueError(f"{len(differences)} cells, {len(sigma)} sigmas and {len(family)} families do not fit.")
    found = []
    for name in dict.fromkeys(family):
        where = [i for i, own in enumerate(family) if own == name and math.isfinite(sigma[i])]
        if len(set(sigma[where]) - {0.0}) < 2:
            continue  # one sigma: the trend would be the cell itself
        # The baseline is a point of the line: its difference to itself is 0.
        doses = np.concatenate([[0.0], sigma[where]])
        span = float(doses.max() - doses.min())
        found.append((name, span * slope_weights(doses)[1:] @ differences[where], span))
    return found


def _mean(row: FloatArray) -> float:
    known = row[np.isfinite(row)]
    return float(known.mean()) if len(known) else math.nan


def _reason(seeds: int, needed: int, alpha: float) -> str:
    if seeds == 0:
        return "No cell has a baseline of the same seed, so nothing can be tested."
    found = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return (
        f"With {found} the smallest p of an exact sign-flip test is {min(1.0, 2.0 ** (1 - seeds)):.2g}, "
        f"not below {alpha:g}, so nothing is claimed; {needed} seeds are the least that can."
    )
