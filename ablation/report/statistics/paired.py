"""Inference from seed-paired differences: interval, exact tests and adjustments for many cells.

A difference is a run's metric minus that of the baseline with the same seed (AP: in points). Its resamples are the
same difference, accumulated again on bootstrap resamples of the test images that all runs share. docs/statistics.md
compares these methods with others by measured coverage and error rates.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Covered = Literal["seeds and images", "seeds", "images"]

EXACT_SEEDS = 16  # with more seeds, as many patterns of signs are drawn at random
_TIE = 1e-9  # share of the largest possible sum below which two sums differ by rounding alone


@dataclass(frozen=True)
class MeanInterval:
    """Interval of a mean paired difference.

    Attributes:
        low, high: ends, in the unit of the metric.
        covers: the random choices whose variance is in the interval.
    """

    low: float
    high: float
    covers: Covered

    @property
    def caveat(self) -> str:
        """The sentence that says what the interval leaves out; empty if nothing."""
        return {
            "seeds and images": "",
            "seeds": "The choice of test images is not covered.",
            "images": "One seed: the variance of training is not covered.",
        }[self.covers]


def interval(
    differences: FloatArray, resampled: FloatArray | None = None, level: float = 0.95, images: int | None = None
) -> MeanInterval | None:
    """Return the interval of the mean paired difference over seeds and test images.

    Seeds and images are crossed, so the variance of the mean is seeds/n + images + interaction/n. The variance over
    seeds and the variance over resampled images both contain interaction/n; `image_variance` subtracts it once. The
    half-width is sqrt(t²·V_seeds + t'²·V_images), each variance with its own quantile, which covers at least the level
    whatever the ratio of the two (Banerjee, 1960, Sankhya 22). Satterthwaite's method does not with few seeds.

    Args:
        differences: Shape (n,), one per seed; seeds with NaN are left out.
        resampled: Shape (n, B), the same differences on B resamples of the images; a resample in which any seed has
            no value is left out. Without it, only seeds are covered; with one seed, only images.
        level: Nominal coverage.
        images: Number of test images, for the small-sample correction of the bootstrap; matters below about 50.

    Returns:
        The interval; None if neither seeds nor images can be covered.

    Raises:
        ValueError: Shapes that do not fit, a level outside (0, 1) or a single image.
    """
    differences = np.asarray(differences, dtype=np.float64)
    _check(differences, resampled, level, images)
    is_known = np.isfinite(differences)
    differences, n = differences[is_known], int(is_known.sum())
    draws = None if resampled is None else np.asarray(resampled, dtype=np.float64)[is_known]
    if draws is not None:
        draws = draws[:, np.isfinite(draws).all(axis=0)]
    if draws is not None and draws.shape[1] < 2:
        draws = None
    if n < 2 and (n == 0 or draws is None):
        return None
    from scipy.special import stdtrit

    tail = (1 + level) / 2
    squared_half_width = 0.0
    if n > 1:
        squared_half_width += float(stdtrit(n - 1, tail)) ** 2 * (float(differences.var(ddof=1)) / n)
    if draws is not None:
        variance, degrees = image_variance(draws), draws.shape[1] - 1
        if images is not None:
            variance *= images / (images - 1)
            degrees = min(degrees, images - 1)
        squared_half_width += float(stdtrit(degrees, tail)) ** 2 * variance
    mean, half = float(differences.mean()), math.sqrt(squared_half_width)
    covers: Covered = "images" if n == 1 else "seeds" if draws is None else "seeds and images"
    return MeanInterval(mean - half, mean + half, covers)


def image_variance(draws: FloatArray) -> float:
    """Return the variance of the mean over seeds that comes from the choice of test images alone.

    Args:
        draws: Shape (n, B), the difference of each of n seeds on B resamples of the images; finite.
    """
    n = len(draws)
    mean = draws.mean(axis=0)
    variance = float(mean.var(ddof=1))
    if n > 1:
        interaction = float((draws - mean).var(axis=1, ddof=1).sum()) / (n - 1)
        variance -= interaction / n
    return max(variance, 0.0)


def least_seeds(alpha: float = 0.05) -> int:
    """Return the fewest seeds with which an exact two-sided sign-flip test can give p < alpha: 6 for 0.05."""
    return math.floor(1 - math.log2(alpha)) + 1


def sign_flip_p(differences: FloatArray, seed: int = 0) -> float:
    """Return the two-sided p of the sign-flip test that paired differences are symmetric about 0.

    Up to 16 seeds the test is exact: p is the share of all 2^n patterns of signs whose mean is at least as far from 0.
    With more, 2^15 patterns are drawn, with the observed one among them, so that p is never 0.

    Args:
        differences: Shape (n,); NaN is left out.
        seed: Of the drawn patterns.

    Returns:
        p, or NaN without any difference.
    """
    # scipy.stats.permutation_test takes 37 times as long with 6 seeds and 390 times with 12, refuses a single seed,
    # and misses ties by rounding: 0.94 instead of 1 for (0.3, 0.2, 0, 0.2, -0.3, -0.4).
    differences = np.asarray(differences, dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    # Sorted sizes: neither the order of the seeds nor the direction of the difference can change the last bit.
    sizes = np.sort(np.abs(differences))
    if len(sizes) == 0:
        return math.nan
    sums = np.abs(_signs(len(sizes), seed) @ sizes)
    return float((sums >= abs(math.fsum(differences)) - _TIE * sizes.sum()).mean())


def holm(p: FloatArray) -> FloatArray:
    """Return p-values adjusted by Holm's method, shape (m,), in the same order.

    Args:
        p: Shape (m,); NaN is missing, stays NaN and is not counted.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, math.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def joint_p(differences: FloatArray, seed: int = 0) -> FloatArray:
    """Return adjusted p-values of hypotheses on the same seeds, by step-down max-T over joint sign flips.

    Each pattern of signs is applied to all rows at once, which keeps what they share (one baseline). The statistic is
    the mean itself, in points: dividing by each row's spread would lose power with few seeds, and with skewed scores
    of unequal spread it would not keep the error rate. Westfall and Young, 1993; Romano and Wolf, JASA 100 (2005).

    Args:
        differences: Shape (m, n), a row for each hypothesis and a column for each seed, all in one unit. NaN is a
            missing pair; a row without any pair gets NaN and is not counted.
        seed: Of the patterns that are drawn for more than 16 seeds.

    Returns:
        Shape (m,).
    """
    differences = np.asarray(differences, dtype=np.float64)
    counts = np.isfinite(differences).sum(axis=1)
    adjusted = np.full(len(differences), math.nan)
    tested = np.flatnonzero(counts)
    if len(tested) == 0:
        return adjusted
    rows = np.nan_to_num(differences[tested]) / counts[tested, None]
    # Drawn patterns must not depend on the order in which the seeds were listed.
    rows = rows[:, np.lexsort(np.abs(rows[::-1]))]
    means = np.abs(_signs(rows.shape[1], seed) @ rows.T)
    observed = means[0]
    order = np.argsort(-observed, kind="stable")
    # Step-down: each hypothesis is compared with the maximum over itself and all with a smaller observed mean.
    largest = np.maximum.accumulate(means[:, order[::-1]], axis=1)[:, ::-1]
    p = (largest >= observed[order] - _TIE * np.abs(rows).sum(axis=1).max()).mean(axis=0)
    adjusted[tested[order]] = np.maximum.accumulate(p)
    return adjusted


def _check(differences: FloatArray, resampled: FloatArray | None, level: float, images: int | None) -> None:
    shapes = differences.shape, None if resampled is None else np.shape(resampled)
    if differences.ndim != 1 or (shapes[1] is not None and (len(shapes[1]) != 2 or shapes[1][:1] != shapes[0])):
        raise ValueError(f"differences must be (n,) and resampled (n, B), got {shapes[0]} and {shapes[1]}.")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}.")
    if images is not None and images < 2:
        raise ValueError(f"images must be at least 2, got {images}.")


@functools.lru_cache(maxsize=4)
def _signs(n: int, seed: int) -> FloatArray:
    """Return patterns of signs, shape (F, n), the first all ones; one of each pair of opposites is enough."""
    if n <= EXACT_SEEDS:
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    else:
        bits = np.random.default_rng(seed).integers(2, size=(2 ** (EXACT_SEEDS - 1), n))
        bits[0] = 0
    signs: FloatArray = (1 - 2 * bits).astype(np.float64)
    signs.setflags(write=False)
    return signs
