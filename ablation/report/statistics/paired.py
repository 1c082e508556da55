"""Inference from seed-paired differences: interval, exact tests, adjustments for many cells, dose response.

A difference is a run's metric minus that of the baseline with the same seed (AP: in points). Its resamples are the
same difference, re-accumulated on bootstrap multisets of the test images that all runs share. docs/statistics.md says
why these methods were chosen over others, with their measured coverage and error rates.
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

EXACT_SEEDS = 16  # up to here every flip is counted; above, as many flips are drawn
_TIE = 1e-9  # of the largest possible sum: flips that differ by rounding alone are equal


@dataclass(frozen=True)
class MeanInterval:
    """Interval of a mean paired difference.

    estimate, low, high: in the unit of the metric. level: nominal coverage. seeds: pairs that it rests on.
    covers: the choices whose chance is in the interval.
    seed_error, image_error: standard errors of the estimate from each; 0 for what is not covered.
    """

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    covers: Covered
    seed_error: float
    image_error: float

    @property
    def caveat(self) -> str:
        """What the interval leaves out, as a sentence; empty if nothing."""
        return {
            "seeds and images": "",
            "seeds": "The choice of test images is not covered.",
            "images": "One seed: the variance of training is not covered.",
        }[self.covers]


@dataclass(frozen=True)
class Trend:
    """Dose response: the mean over seeds of each seed's least-squares slope.

    slope: points of the metric per unit of sigma. slopes: one per seed, in the order given.
    interval: of the slope, None if nothing can be covered. p: exact two-sided sign-flip test of slope 0.
    """

    slope: float
    slopes: tuple[float, ...]
    interval: MeanInterval | None
    p: float


def interval(
    d: FloatArray, resampled: FloatArray | None = None, level: float = 0.95, images: int | None = None
) -> MeanInterval | None:
    """Interval of the mean paired difference over seeds and test images; None where neither can be covered.

    Seeds and images are crossed, so the variance of the mean is seeds/n + images + interaction/n. The spread of d
    holds the first and the last term, that of the resampled mean the last two: the interaction is taken out once.
    The half-width is sqrt(t²·V_seeds + t'²·V_images), each variance with its own quantile, which covers at least
    the level whatever the ratio of the two (Banerjee, 1960, Sankhya 22); Satterthwaite's does not with few seeds.

    d: shape (n,), one per seed; seeds with NaN are left out.
    resampled: shape (n, B), the same differences on B resamples of the images; a resample in which any seed has no
        value is left out. Without it, seeds alone are covered; with one seed, images alone.
    images: number of test images, for the small-sample correction of the bootstrap; matters below about 50.

    Raises:
        ValueError: shapes that do not fit, or a level outside (0, 1).
    """
    d = np.asarray(d, dtype=np.float64)
    _check(d, resampled, level, images)
    known = np.isfinite(d)
    d, n = d[known], int(known.sum())
    draws = _usable(resampled, known)
    if n < 2 and (n == 0 or draws is None):
        return None
    from scipy.special import stdtrit

    tail = (1 + level) / 2
    seed_variance = float(d.var(ddof=1)) / n if n > 1 else 0.0
    image_variance, width = 0.0, 0.0
    if n > 1:
        width += float(stdtrit(n - 1, tail)) ** 2 * seed_variance
    if draws is not None:
        image_variance = _image_variance(draws)
        degrees = draws.shape[1] - 1
        if images is not None:
            image_variance *= images / (images - 1)
            degrees = min(degrees, images - 1)
        width += float(stdtrit(degrees, tail)) ** 2 * image_variance
    estimate, half = float(d.mean()), math.sqrt(width)
    covers: Covered = "images" if n == 1 else "seeds" if draws is None else "seeds and images"
    errors = math.sqrt(seed_variance), math.sqrt(image_variance)
    return MeanInterval(estimate, estimate - half, estimate + half, level, n, covers, *errors)


def least_seeds(alpha: float = 0.05) -> int:
    """Fewest seeds with which an exact two-sided sign-flip test can give p < alpha; 6 for 0.05."""
    return math.floor(1 - math.log2(alpha)) + 1


def sign_flip_p(d: FloatArray, seed: int = 0) -> float:
    """Two-sided p of the sign-flip test that paired differences are symmetric about 0; NaN without any.

    Exact up to 16 seeds: the share of all 2^n sign patterns whose mean is as far from 0. Above, 2^15 patterns are
    drawn, the observed one counted among them (so p is never 0).

    d: shape (n,), NaN left out. seed: of the drawn patterns.
    """
    d = np.asarray(d, dtype=np.float64)
    d = d[np.isfinite(d)]
    # Sorted sizes: neither the order of the seeds nor the direction of the difference can change the last bit.
    sizes = np.sort(np.abs(d))
    if len(sizes) == 0:
        return math.nan
    sums = np.abs(_signs(len(sizes), seed) @ sizes)
    return float((sums >= abs(math.fsum(d)) - _TIE * sizes.sum()).mean())


def holm(p: FloatArray) -> FloatArray:
    """Holm's adjusted p-values, shape (m,), in the order given; NaN is missing, stays NaN and is not counted.

    p: shape (m,).
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, math.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def joint_p(differences: FloatArray, seed: int = 0) -> FloatArray:
    """Adjusted p-values, shape (m,), of m hypotheses on the same seeds: step-down max-T over joint sign flips.

    Each pattern of signs is applied to all rows at once, which keeps what they share (one baseline). The statistic is
    the mean itself, in points: dividing by each row's spread would lose power with few seeds, and with skewed scores
    of unequal spread it would not keep the error rate. Westfall and Young, 1993; Romano and Wolf, JASA 100 (2005).

    differences: shape (m, n), a row for each hypothesis, a column for each seed, in the same unit. NaN is a missing
        pair; a row without any pair gets NaN and is not counted. seed: of the patterns drawn above 16 seeds.
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
    # For the k-th largest mean, the largest among those that are not larger: what is claimed before no longer competes.
    largest = np.maximum.accumulate(means[:, order[::-1]], axis=1)[:, ::-1]
    p = (largest >= observed[order] - _TIE * np.abs(rows).sum(axis=1).max()).mean(axis=0)
    adjusted[tested[order]] = np.maximum.accumulate(p)
    return adjusted


def slope_weights(sigma: FloatArray) -> FloatArray:
    """Weights of the least-squares slope, shape (K,): slope = weights @ values. They sum to 0.

    sigma: shape (K,), with at least two distinct values.

    Raises:
        ValueError: sigma has one value only, or is not finite.
    """
    sigma = np.asarray(sigma, dtype=np.float64)
    centred = sigma - sigma.mean()
    square = float(centred @ centred)
    if not math.isfinite(square) or square == 0:
        raise ValueError(f"A slope needs two different finite sigmas, got {sigma.tolist()}.")
    weights: FloatArray = centred / square
    return weights


def trend(
    sigma: FloatArray,
    values_by_seed: FloatArray,
    resampled: FloatArray | None = None,
    level: float = 0.95,
    images: int | None = None,
) -> Trend | None:
    """Least-squares slope of the metric over sigma in each seed, its mean, interval and exact sign-flip test.

    Pairing is in the slope: what a seed adds to all its runs cancels. Seeds that lack a value are left out, for a slope
    over other sigmas is another quantity; None if no seed is whole.

    sigma: shape (K,), the baseline's 0 among them. values_by_seed: shape (n, K), the metric (or its differences to the
    baseline, which have the same slope). resampled: shape (n, K, B); it and the others as for the interval.

    Raises:
        ValueError: sigma has one value only, or shapes that do not fit.
    """
    weights = slope_weights(sigma)
    slopes = np.asarray(values_by_seed, dtype=np.float64) @ weights
    draws = None if resampled is None else np.einsum("k,nkb->nb", weights, resampled)
    found = slopes[np.isfinite(slopes)]
    if len(found) == 0:
        return None
    return Trend(
        float(found.mean()), tuple(found.tolist()), interval(slopes, draws, level, images), sign_flip_p(slopes)
    )


def _image_variance(draws: FloatArray) -> float:
    """Variance of the mean over seeds due to the images alone; draws: shape (n, B)."""
    n = len(draws)
    mean = draws.mean(axis=0)
    variance = float(mean.var(ddof=1))
    if n > 1:
        interaction = float((draws - mean).var(axis=1, ddof=1).sum()) / (n - 1)
        variance -= interaction / n
    return max(variance, 0.0)


def _usable(resampled: FloatArray | None, known: NDArray[np.bool_]) -> FloatArray | None:
    """Rows of the known seeds in the resamples that all of them have, shape (n, B'); None below two."""
    if resampled is None:
        return None
    draws = np.asarray(resampled, dtype=np.float64)[known]
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    return draws if draws.shape[1] > 1 else None


def _check(d: FloatArray, resampled: FloatArray | None, level: float, images: int | None) -> None:
    if d.ndim != 1 or (resampled is not None and (np.ndim(resampled) != 2 or len(resampled) != len(d))):
        shape = None if resampled is None else np.shape(resampled)
        raise ValueError(f"d must be (n,) and resampled (n, B), got {d.shape} and {shape}.")
    if not 0 < level < 1:
        raise ValueError(f"The level must lie between 0 and 1, got {level}.")
    if images is not None and images < 2:
        raise ValueError(f"An interval over images needs two of them, got {images}.")


@functools.lru_cache(maxsize=4)
def _signs(n: int, seed: int) -> FloatArray:
    """Patterns of signs, shape (F, n), the first all ones; a pattern and its opposite have the same size of mean."""
    if n <= EXACT_SEEDS:
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    else:
        bits = np.random.default_rng(seed).integers(2, size=(2 ** (EXACT_SEEDS - 1), n))
        bits[0] = 0
    signs: FloatArray = (1 - 2 * bits).astype(np.float64)
    signs.setflags(write=False)
    return signs
