"""One number for several cells and seeds, as in Agarwal et al., "Deep RL at the edge of the statistical precipice",
2021 (arXiv 2108.13264).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]  # of scores (..., cells, seeds) to (...)


def mean(scores: FloatArray) -> FloatArray:
    """Return the mean over the last two axes, cells and seeds."""
    return np.asarray(scores.mean(axis=(-2, -1)))


def iqm(scores: FloatArray) -> FloatArray:
    """Return the interquartile mean: that of the middle half, a quarter (rounded down) cut at each end.

    Args:
        scores: Shape (..., cells, seeds), finite, at least four in the last two axes.

    Returns:
        Shape (...).

    Raises:
        ValueError: Fewer than four scores, of which a quarter cannot be cut, or NaN among them.
    """
    scores = _finite(scores)
    together = scores.reshape(*scores.shape[:-2], -1)
    count = together.shape[-1]
    if count < 4:
        raise ValueError(f"The interquartile mean needs at least 4 scores, got {count}.")
    # scipy.stats.trim_mean returns the same bits, but importing scipy.stats takes over a second.
    cut = count // 4
    return np.asarray(np.partition(together, (cut, count - cut - 1))[..., cut : count - cut].mean(axis=-1))


def probability_of_improvement(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return P(x > y) + P(x = y)/2 for a random run of each, averaged over the cells.

    This is the Mann-Whitney statistic divided by its maximum.

    Args:
        x: Shape (..., cells, seeds), finite.
        y: Shape (cells, other seeds), finite.

    Returns:
        Shape (...), from 0 to 1.

    Raises:
        ValueError: Different numbers of cells, or NaN.
    """
    x, y = _finite(x), _finite(y)
    if x.shape[-2] != len(y):
        raise ValueError(f"x and y must have the same cells, got {x.shape[-2]} and {len(y)}.")
    difference = x[..., None] - y[:, None, :]
    return np.asarray(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-3, -2, -1)))


def stratified_bootstrap(
    scores: FloatArray, statistic: Statistic, *, resamples: int = 2000, seed: int = 0
) -> FloatArray:
    """Return the statistic on resamples of the seeds.

    All cells keep their common draw of seeds, because they share a baseline. The paper resamples each cell separately.

    Args:
        scores: Shape (cells, seeds), finite.
        statistic: Maps shape (..., cells, seeds) to (...).
        resamples: How many to draw.
        seed: Of the generator.

    Returns:
        Shape (resamples,).

    Raises:
        ValueError: NaN among the scores.
    """
    scores = _finite(scores)
    cells, seeds = scores.shape
    columns = np.random.default_rng(seed).integers(seeds, size=(resamples, 1, seeds))
    return statistic(scores[np.arange(cells)[:, None], columns])


def bootstrap_interval(
    scores: FloatArray, statistic: Statistic, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Return both ends of an interval of the statistic over seeds; None below two seeds.

    They are statistic ± t·sqrt(n/(n-1))·sd of the stratified bootstrap, with t of n-1 degrees of freedom. The
    percentiles that the paper takes are too narrow with few seeds: resampling n values loses the share 1/n of their
    variance, and has no t in it.

    Args:
        scores: Shape (cells, seeds), finite.
        statistic: Maps shape (..., cells, seeds) to (...).
        level: Nominal coverage.
        resamples: How many to draw.
        seed: Of the generator.
    """
    from scipy.special import stdtrit

    scores = np.asarray(scores, dtype=np.float64)
    seeds = scores.shape[1]
    if seeds < 2:
        return None
    values = stratified_bootstrap(scores, statistic, resamples=resamples, seed=seed)
    error = math.sqrt(seeds / (seeds - 1)) * float(values.std(ddof=1))
    middle, half = float(statistic(scores)), float(stdtrit(seeds - 1, (1 + level) / 2)) * error
    return middle - half, middle + half


def _finite(scores: FloatArray) -> FloatArray:
    scores = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("Missing scores (NaN) cannot be aggregated; leave out their cells and say so.")
    return scores
