"""The rule by which a sweep claims effects: one joint exact test of all its trends and cells.

The hypotheses are every cell's difference to the baseline and, for each family of cells that differ in sigma alone,
its trend. All share one step-down max-T sign-flip test (paired.joint_p), so that the chance of any false claim is at
most alpha, and a dose response is tested along with the single cells without spending alpha of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablation.report.statistics import paired
from ablation.report.statistics.paired import FloatArray, MeanInterval


@dataclass(frozen=True)
class Verdict:
    """Result of the rule for one hypothesis.

    Attributes:
        effect: Of a cell its mean paired difference; of a trend the change of its fitted line from sigma 0 to the
            highest sigma. In points; NaN without any pair.
        seeds: Number of pairs.
        p: Of its own sign-flip test.
        p_holm: Adjusted by Holm's method for all tested hypotheses, for comparison; NaN if not tested.
        p_joint: Adjusted by the joint test; NaN if not tested.
        is_claimed: True if p_joint is below alpha.
    """

    effect: float
    seeds: int
    p: float
    p_holm: float
    p_joint: float
    is_claimed: bool


@dataclass(frozen=True)
class TrendVerdict(Verdict):
    """Verdict on the dose response of a family: the mean over seeds of each seed's least-squares line over sigma.

    Attributes:
        family: Its name.
        slope: Points per unit of sigma; the effect is the slope times the range of sigma.
        interval: 95 % t interval of the effect over seeds, for this trend alone; None below two seeds.
    """

    family: str
    slope: float
    interval: MeanInterval | None


@dataclass(frozen=True)
class Decision:
    """Verdicts of a whole sweep for its primary metric.

    Attributes:
        cells: In the order given.
        trends: One for each family with at least two sigmas above 0, by first appearance.
        alpha: Bound on the chance of any false claim.
        tested: Number of hypotheses that share alpha.
        needed: Fewest seeds with which anything can be claimed.
        reason: Sentence that says why nothing can be claimed; empty if something can.
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

    A hypothesis with fewer pairs than a sign-flip test needs (6 at alpha 0.05) is not tested and not counted.

    Args:
        differences: Shape (cells, seeds), in points to the baseline of the same seed; NaN is a missing pair.
        sigma: One per cell, NaN if it is only measured.
        family: One name per cell, the same for cells that differ in sigma alone. Without sigma or family, no trend
            is tested.
        alpha: Bound on the chance of any false claim.

    Raises:
        ValueError: Lengths that do not fit.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 2:
        raise ValueError(f"differences must be (cells, seeds), got {differences.shape}.")
    trends = [] if sigma is None or family is None else _trends(differences, np.asarray(sigma, dtype=float), family)
    rows = np.vstack([changes for _, changes, _ in trends] + [differences])
    pairs, needed = np.isfinite(rows).sum(axis=1), paired.least_seeds(alpha)
    is_tested = pairs >= needed
    p = np.array([paired.sign_flip_p(row) for row in rows])
    p_holm = paired.holm(np.where(is_tested, p, math.nan))
    p_joint = paired.joint_p(np.where(is_tested[:, None], rows, math.nan))
    effects = [float(row[np.isfinite(row)].mean()) if n else math.nan for row, n in zip(rows, pairs, strict=True)]
    columns = (effects, pairs.tolist(), p.tolist(), p_holm.tolist(), p_joint.tolist(), (p_joint < alpha).tolist())
    verdicts = [Verdict(*values) for values in zip(*columns, strict=True)]
    return Decision(
        cells=tuple(verdicts[len(trends) :]),
        trends=tuple(
            TrendVerdict(**vars(verdict), family=name, slope=verdict.effect / span, interval=paired.interval(changes))
            for verdict, (name, changes, span) in zip(verdicts, trends, strict=False)
        ),
        alpha=alpha,
        tested=int(is_tested.sum()),
        needed=needed,
        reason="" if is_tested.any() else _reason(int(pairs.max(initial=0)), needed, alpha),
    )


def _trends(differences: FloatArray, sigma: FloatArray, family: Sequence[str]) -> list[tuple[str, FloatArray, float]]:
    """Return the name, the change of each seed's line over the range of sigma (shape (seeds,)), and this range."""
    if not len(sigma) == len(family) == len(differences):
        raise ValueError(f"{len(differences)} cells, {len(sigma)} sigmas and {len(family)} families do not fit.")
    found = []
    for name in dict.fromkeys(family):
        members = [i for i, own in enumerate(family) if own == name and math.isfinite(sigma[i])]
        if len(set(sigma[members]) - {0.0}) < 2:
            continue  # with one sigma the trend would be the cell itself
        # The baseline is a point of the line: its difference to itself is 0.
        doses = np.concatenate([[0.0], sigma[members]])
        span = float(doses.max() - doses.min())
        centred = doses - doses.mean()
        weights = centred / float(centred @ centred)  # of the least-squares slope
        found.append((name, span * weights[1:] @ differences[members], span))
    return found


def _reason(seeds: int, needed: int, alpha: float) -> str:
    if seeds == 0:
        return "No cell has a baseline of the same seed, so nothing can be tested."
    found = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return (
        f"With {found} the smallest p of an exact sign-flip test is {min(1.0, 2.0 ** (1 - seeds)):.2g}, "
        f"not below {alpha:g}, so nothing is claimed; at least {needed} seeds are needed."
    )
