"""One number for several cells and seeds, as in Agarwal et al., "Deep RL at the edge of the statistical precipice",
2021 (arXiv 2108.13264).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def iqm(scores: FloatArray) -> float:
    """Interquartile mean: the mean of the middle half of all scores, a quarter (rounded down) cut at each end.

    scores: any shape, at least four, finite.

    Raises:
        ValueError: fewer than four scores, of which a quarter cannot be cut, or NaN among them.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=None)
    if len(ordered) < 4:
        raise ValueError(f"The interquartile mean needs at least 4 scores, got {len(ordered)}.")
    _check_finite(ordered)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def stratified_bootstrap(
    scores: FloatArray,
    statistic: Callable[[FloatArray], float],
    *,
    resamples: int = 2000,
    shared_seeds: bool = True,
    seed: int = 0,
) -> FloatArray:
    """The statistic on resamples of the seeds within every cell, shape (resamples,).

    scores: shape (cells, seeds), finite. statistic: of an array of this shape.
    shared_seeds: whether a column is one seed in all cells, as for differences to one baseline: the cells then keep
        their common draw of seeds. False draws anew in each cell, as the paper does for independent runs.

    Raises:
        ValueError: NaN among the scores; leave the cell out and say so.
    """
    scores = np.asarray(scores, dtype=np.float64)
    _check_finite(scores)
    cells, seeds = scores.shape
    drawn = np.random.default_rng(seed).integers(seeds, size=(resamples, 1 if shared_seeds else cells, seeds))
    rows = np.arange(cells)[:, None]
    return np.array([statistic(scores[rows, columns]) for columns in drawn], dtype=np.float64)


def bootstrap_interval(
    scores: FloatArray,
    statistic: Callable[[FloatArray], float],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    shared_seeds: bool = True,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Both ends of an interval of the statistic over seeds, from the stratified bootstrap; None below two seeds.

    statistic ± t·sqrt(n/(n-1))·sd of the bootstrap, t of n-1 degrees: the percentiles that the paper takes are too
    narrow with few seeds, for resampling n values loses the share 1/n of their variance, and has no t in it.

    Arguments as stratified_bootstrap.
    """
    from scipy.special import stdtrit

    scores = np.asarray(scores, dtype=np.float64)
    seeds = scores.shape[1]
    if seeds < 2:
        return None
    drawn = stratified_bootstrap(scores, statistic, resamples=resamples, shared_seeds=shared_seeds, seed=seed)
    error = math.sqrt(seeds / (seeds - 1)) * float(drawn.std(ddof=1))
    middle, half = statistic(scores), float(stdtrit(seeds - 1, (1 + level) / 2)) * error
    return middle - half, middle + half


def probability_of_improvement(x: FloatArray, y: FloatArray) -> float:
    """P(x > y) + P(x = y)/2 for a random run of each, mean over the cells: the Mann-Whitney statistic over its maximum.

    x: shape (cells, seeds), y: shape (cells, other seeds), finite.

    Raises:
        ValueError: different numbers of cells, or NaN.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same cells, got {len(x)} and {len(y)}.")
    _check_finite(x)
    _check_finite(y)
    difference = x[:, :, None] - y[:, None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def _check_finite(scores: FloatArray) -> None:
    if not np.isfinite(scores).all():
        raise ValueError("Missing scores (NaN) cannot be aggregated; leave out their cells and say so.")
