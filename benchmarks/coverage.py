"""How often the intervals cover, the rule of claims errs and real effects are found, where the truth is known.

    python -m benchmarks.coverage                # a quarter of an hour on one core
    python -m benchmarks.coverage --share 0.1    # a tenth of the repetitions

Scores are additive: y[s, i] = mu + seed_s + image_i + interaction_si for the paired difference of seed s on image i. A
run's metric is the mean over its images, its resamples are weighted means under the weights that all runs share. Every
number is seeded; only the description of the machine differs between repetitions.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit

from ablation.report.statistics.aggregate import Statistic, bootstrap_interval, iqm, mean, stratified_bootstrap
from ablation.report.statistics.decision import decide
from ablation.report.statistics.paired import FloatArray, image_variance, interval, joint_p, sign_flip_p
from ablation.report.statistics.power import minimum_detectable_effect
from benchmarks.machine import write_result

SEEDS = (3, 6, 10)
LEVEL = 0.95
IMAGES, RESAMPLES = 200, 200
# Variance of one seed's difference from the seed, the test images, and both together (over the whole test set).
RATIOS = ((1, 0, 0), (1, 0.1, 0.1), (1, 0.3, 0.3), (1, 1, 0), (1, 1, 1), (0.1, 1, 0.1), (0, 1, 0), (0, 0, 1))
SIGMAS = np.array([0.1, 0.25, 0.5, 1.0])
FAMILIES = ("gaussian", "uniform", "dropout")
CELLS = len(SIGMAS) * len(FAMILIES)

Draw = Callable[[np.random.Generator, Sequence[int]], FloatArray]


def normal(generator: np.random.Generator, shape: Sequence[int]) -> FloatArray:
    """Standard normal."""
    return generator.standard_normal(tuple(shape))


def skewed(generator: np.random.Generator, shape: Sequence[int]) -> FloatArray:
    """Mean 0, sd 1, with a long lower tail, as scores of trainings that sometimes fail."""
    return 1.0 - generator.exponential(size=tuple(shape))


def long_tailed(generator: np.random.Generator, shape: Sequence[int]) -> FloatArray:
    """Mean 0, sd 1: the difference of two skewed scores (Laplace's distribution)."""
    return generator.laplace(scale=math.sqrt(0.5), size=tuple(shape))


def scores(
    generator: np.random.Generator, seeds: int, variances: Sequence[float], is_ratio: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Paired differences (seeds,) whose mean is 0 in truth, and their resamples (seeds, RESAMPLES).

    is_ratio: the metric is a sum over images divided by a sum of very unequal object counts, as recall is; images are
    skewed, and seeds have the long tails of a difference of skewed scores.
    """
    seed, image, both = (math.sqrt(v) for v in variances)
    over_images, over_seeds = (skewed, long_tailed) if is_ratio else (normal, normal)
    y = seed * over_seeds(generator, (seeds, 1)) + math.sqrt(IMAGES) * (
        image * over_images(generator, (1, IMAGES)) + both * over_seeds(generator, (seeds, IMAGES))
    )
    picked = generator.integers(IMAGES, size=(RESAMPLES, IMAGES)) + IMAGES * np.arange(RESAMPLES)[:, None]
    weights = np.bincount(picked.ravel(), minlength=RESAMPLES * IMAGES).reshape(RESAMPLES, IMAGES)
    objects = generator.geometric(0.25, size=IMAGES) if is_ratio else np.ones(IMAGES)
    weighted = (weights * objects).astype(np.float64)
    return y @ objects / objects.sum(), y @ weighted.T / weighted.sum(axis=1)


def candidates(generator: np.random.Generator, d: FloatArray, resampled: FloatArray) -> dict[str, tuple[float, float]]:
    """Intervals of the mean paired difference by name; the package's own first."""
    n, B = resampled.shape
    own = interval(d, resampled, LEVEL)
    assert own is not None
    middle, tail = float(d.mean()), (1 + LEVEL) / 2
    seeds, images = float(d.var(ddof=1)) / n, image_variance(resampled)
    both = float(resampled.mean(axis=0).var(ddof=1))
    total = seeds + images
    degrees = total**2 / (seeds**2 / (n - 1) + images**2 / (B - 1))
    t = float(stdtrit(n - 1, tail))
    picked = generator.integers(n, size=(B, n))
    drawn = resampled[picked, np.arange(B)[:, None]]
    hierarchical = drawn.mean(axis=1)
    widened = resampled.mean(axis=0) + (hierarchical - resampled.mean(axis=0)) * math.sqrt(n / (n - 1))
    picked_seeds = d[picked]
    # Bootstrap-t: the statistic of each resample is divided by its own error; images have theirs from the data.
    errors = np.sqrt(picked_seeds.var(axis=1, ddof=1) / n + images)
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.nan_to_num((hierarchical - middle) / errors, nan=0.0, posinf=1e9, neginf=-1e9)
    low, high = np.quantile(studentised, [1 - tail, tail], method="inverted_cdf") * math.sqrt(total)
    return {
        "own: each variance its own t": (own.low, own.high),
        "variance components, Satterthwaite t": _around(middle, float(stdtrit(degrees, tail)) * math.sqrt(total)),
        "variance components, t of n-1": _around(middle, t * math.sqrt(total)),
        "the same, interaction counted twice": _around(middle, t * math.sqrt(seeds + both)),
        "bootstrap-t over seeds and images": (middle - high, middle - low),
        "hierarchical percentile": _quantiles(hierarchical),
        "hierarchical percentile, seeds widened": _quantiles(widened),
        "percentile over seeds": _quantiles(picked_seeds.mean(axis=1)),
        "t over seeds": _around(middle, t * math.sqrt(seeds)),
        "images alone": _around(middle, float(stdtrit(B - 1, tail)) * math.sqrt(both)),
    }


def interval_coverage(repetitions: int) -> Iterator[dict[str, Any]]:
    """Coverage in percent, and median half-width, of each candidate for every number of seeds and ratio."""
    for number, (seeds, variances, kind) in enumerate((s, v, k) for k in _KINDS for s in SEEDS for v in RATIOS):
        generator = np.random.default_rng([1, number])
        hits: dict[str, int] = {}
        widths: dict[str, list[float]] = {}
        for _ in range(repetitions):
            d, D = scores(generator, seeds, variances, _KINDS[kind])
            for name, (low, high) in candidates(generator, d, D).items():
                hits[name] = hits.get(name, 0) + (low <= 0 <= high)
                widths.setdefault(name, []).append(high / 2 - low / 2)
        for name, hit in hits.items():
            width = float(np.median(widths[name]))
            yield {
                "what": "interval",
                "scores": kind,
                "seeds": seeds,
                "variances": list(variances),
                "method": name,
                "coverage": 100 * hit / repetitions,
                "half_width": width if width < 1e6 else None,  # bootstrap-t: resamples of one seed have no spread
                "repetitions": repetitions,
            }


def aggregate_coverage(repetitions: int) -> Iterator[dict[str, Any]]:
    """Coverage of intervals of one number over twelve cells that share a baseline."""
    for number, (seeds, name, statistic) in enumerate((s, n, f) for s in SEEDS for n, f in _STATISTICS.items()):
        generator = np.random.default_rng([2, number])
        hits: dict[str, int] = {}
        for seed in range(repetitions):
            given = sweep(generator, seeds, 1.0, np.zeros(CELLS))
            shared = bootstrap_interval(given, statistic, resamples=300, seed=seed)
            assert shared is not None
            together = stratified_bootstrap(given, statistic, resamples=300, seed=seed)
            apart = _drawn_apart(given, statistic, resamples=300, seed=seed)
            error = math.sqrt(seeds / (seeds - 1)) * float(apart.std(ddof=1))
            intervals = {
                "percentile, seeds shared": _quantiles(together),
                "t, seeds shared": shared,
                "percentile, cells apart": _quantiles(apart),
                "t, cells apart": _around(float(statistic(given)), float(stdtrit(seeds - 1, (1 + LEVEL) / 2)) * error),
            }
            for method, (low, high) in intervals.items():
                hits[method] = hits.get(method, 0) + (low <= 0 <= high)
        for method, hit in hits.items():
            coverage = 100 * hit / repetitions
            yield {
                "what": "aggregate",
                "seeds": seeds,
                "statistic": name,
                "method": method,
                "coverage": coverage,
                "repetitions": repetitions,
            }


def sweep(
    generator: np.random.Generator,
    seeds: int,
    sd: float,
    effects: FloatArray,
    draw: Draw = normal,
    spreads: FloatArray | None = None,
) -> FloatArray:
    """Paired differences (cells, seeds) of cells that share a baseline.

    sd: of one cell's differences; spreads: of the cells with noise, in units of the baseline's.
    """
    errors = draw(generator, (CELLS + 1, seeds)) * sd / math.sqrt(2)
    own = errors[1:] if spreads is None else errors[1:] * spreads[:, None]
    return own - errors[0] + effects[:, None]


def rule_errors(repetitions: int) -> Iterator[dict[str, Any]]:
    """Percent of sweeps with any false claim: by the rule, by Holm, unadjusted, and by cells in their own spreads."""
    unequal = np.tile([1.0, 1.0, 1.5, 3.0], len(FAMILIES))
    dose = np.where(np.arange(CELLS) < len(SIGMAS), np.tile(SIGMAS, len(FAMILIES)), 0.0)
    nulls: dict[str, tuple[FloatArray, Draw, FloatArray | None]] = {
        "no effect, normal": (np.zeros(CELLS), normal, None),
        "no effect, skewed": (np.zeros(CELLS), skewed, None),
        "no effect, unequal spread": (np.zeros(CELLS), normal, unequal),
        "no effect, skewed and unequal": (np.zeros(CELLS), skewed, unequal),
        "one family of three has one": (dose, normal, None),
    }
    for number, (seeds, name) in enumerate((s, n) for s in (6, 10) for n in nulls):
        effects, draw, spreads = nulls[name]
        generator = np.random.default_rng([3, number])
        false = np.zeros(4)
        for _ in range(repetitions):
            differences = sweep(generator, seeds, 0.5, effects, draw, spreads)
            decision = _decide(differences)
            nothing = [*(not e.any() for e in np.split(effects, len(FAMILIES))), *(effects == 0)]
            wrong = [v for v, is_null in zip((*decision.trends, *decision.cells), nothing, strict=True) if is_null]
            false[:3] += [min(getattr(v, kind) for v in wrong) < 0.05 for kind in ("p_joint", "p_holm", "p")]
            false[3] += joint_p(_in_spreads(differences))[effects == 0].min() < 0.05
        rule, adjusted, alone, in_spreads = (100 * false / repetitions).tolist()
        yield {
            "what": "errors",
            "seeds": seeds,
            "scores": name,
            "rule": rule,
            "holm": adjusted,
            "unadjusted": alone,
            "in_spreads": in_spreads,
            "repetitions": repetitions,
        }


def rule_power(repetitions: int) -> Iterator[dict[str, Any]]:
    """Percent of sweeps in which the rule claims a real effect, and the real trend or cell asked about.

    The effect is that of one family's highest sigma, falling in proportion to sigma; or of a single cell; or of all.
    """
    first = np.arange(CELLS) < len(SIGMAS)
    shapes = {
        "dose, one family": np.where(first, np.tile(SIGMAS, len(FAMILIES)), 0.0),
        "dose, all families": np.tile(SIGMAS, len(FAMILIES)),
        "one cell": np.eye(CELLS)[len(SIGMAS) - 1],
        "all cells alike": np.ones(CELLS),
    }
    grid = ((s, sd, e, n) for s in (6, 10) for sd in (0.3, 0.5, 1.0) for e in (0.5, 1.0) for n in shapes)
    for number, (seeds, sd, effect, name) in enumerate(grid):
        generator = np.random.default_rng([4, number])
        effects = -effect * shapes[name]
        found = np.zeros(5)
        for _ in range(repetitions):
            differences = sweep(generator, seeds, sd, effects)
            decision = _decide(differences)
            real = [v for v, e in zip(decision.cells, effects, strict=True) if e]
            trend, cell = decision.trends[0], decision.cells[len(SIGMAS) - 1]
            # Of "any claim", a trend counts where its family has an effect.
            doses = [v for v, e in zip(decision.trends, np.split(effects, len(FAMILIES)), strict=True) if e.any()]
            found[0] += any(v.is_claimed for v in (*real, *doses))
            found[1:4] += [trend.is_claimed, cell.is_claimed, any(v.p_holm < 0.05 for v in (*real, *doses))]
            found[4] += joint_p(_in_spreads(differences))[effects != 0].min() < 0.05
        any_, trend_, cell_, holm_, in_spreads = (100 * found / repetitions).tolist()
        yield {
            "what": "power",
            "seeds": seeds,
            "sd": sd,
            "effect": effect,
            "shape": name,
            "any": any_,
            "trend": trend_,
            "highest_cell": cell_,
            "any_holm": holm_,
            "any_in_spreads": in_spreads,
            "repetitions": repetitions,
        }


def test_power(repetitions: int) -> Iterator[dict[str, Any]]:
    """Percent of single sign-flip tests that find what minimum_detectable_effect promises to 80 %."""
    for seeds in (6, 7, 8, 10, 12):
        generator = np.random.default_rng([5, seeds])
        effect = minimum_detectable_effect(1.0, seeds)
        found = sum(sign_flip_p(effect + generator.standard_normal(seeds)) < 0.05 for _ in range(repetitions))
        yield {
            "what": "detectable",
            "seeds": seeds,
            "effect_in_sd": effect,
            "power": 100 * found / repetitions,
            "repetitions": repetitions,
        }


def image_errors(repetitions: int) -> Iterator[dict[str, Any]]:
    """Percent of tests and intervals that miss 0, where noise acts on each image but not on their population's mean."""
    for number, (seeds, image) in enumerate((s, v) for s in (6, 10) for v in (0, 0.1, 0.3, 1)):
        generator = np.random.default_rng([6, number])
        wrong = np.zeros(2)
        for _ in range(repetitions):
            d, D = scores(generator, seeds, (1, image, 0))
            own = interval(d, D, LEVEL)
            assert own is not None
            wrong += [sign_flip_p(d) < 0.05, not own.low <= 0 <= own.high]
        test, missed = (100 * wrong / repetitions).tolist()
        yield {
            "what": "other images",
            "seeds": seeds,
            "variances": [1, image, 0],
            "test": test,
            "interval": missed,
            "repetitions": repetitions,
        }


_KINDS = {"mean, normal": False, "ratio, skewed": True}
_STATISTICS: dict[str, Statistic] = {"mean": mean, "iqm": iqm}


def _drawn_apart(scores: FloatArray, statistic: Statistic, resamples: int, seed: int) -> FloatArray:
    """The stratified bootstrap as in its paper: each cell draws seeds of its own."""
    cells, seeds = scores.shape
    columns = np.random.default_rng(seed).integers(seeds, size=(resamples, cells, seeds))
    return statistic(scores[np.arange(cells)[:, None], columns])


def _decide(differences: FloatArray) -> Any:
    sigma = np.tile(SIGMAS, len(FAMILIES)).tolist()
    return decide(differences, sigma, [f for f in FAMILIES for _ in SIGMAS])


def _in_spreads(differences: FloatArray) -> FloatArray:
    """Rows divided by their root mean square, which no sign changes: their means order as t statistics do."""
    scaled: FloatArray = differences / np.sqrt((differences**2).mean(axis=1, keepdims=True))
    return scaled


def _around(middle: float, half: float) -> tuple[float, float]:
    return middle - half, middle + half


def _quantiles(drawn: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _show(rows: Sequence[dict[str, Any]]) -> Table:
    columns = [name for name in rows[0] if name != "what"]
    table = Table(*columns, title=str(rows[0]["what"]), box=None)
    for row in rows:
        table.add_row(*(f"{row[c]:.2f}" if isinstance(row[c], float) else str(row[c]) for c in columns))
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print the tables, leave a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the repetitions")
    given = parser.parse_args(arguments)
    parts: tuple[tuple[Callable[[int], Iterator[dict[str, Any]]], int], ...] = (
        (interval_coverage, 2000),
        (aggregate_coverage, 300),
        (rule_errors, 60000),
        (rule_power, 500),
        (test_power, 5000),
        (image_errors, 2000),
    )
    rows: list[dict[str, Any]] = []
    console = Console(width=160)
    for part, repetitions in parts:
        started = time.monotonic()
        found = list(part(max(2, round(given.share * repetitions))))
        console.print(_show(found))
        console.print(f"{time.monotonic() - started:.0f} s")
        rows += found
    console.print(f"Written: {write_result('coverage', rows)}")


if __name__ == "__main__":
    main()
