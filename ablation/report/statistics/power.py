"""Power of the exact sign-flip test: minimum detectable effect and the seeds that an effect needs."""

from __future__ import annotations

import bisect
import math

from ablation.report.statistics.paired import least_seeds

_MOST_SEEDS = 2**40


def minimum_detectable_effect(sd: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true mean difference that the two-sided sign-flip test of one hypothesis finds.

    With 6 seeds at alpha 0.05 only the pattern with all seeds on one side is significant: the effect is that at which
    all normal differences share a sign. With more seeds it is that of the t test (noncentral t) at the level that the
    sign-flip test attains.

    Args:
        sd: Standard deviation of the paired differences over seeds, in the unit of the metric.
        n: Number of pairs.
        power: Probability of finding the effect.
        alpha: Level of the test.

    Returns:
        In the unit of the metric; infinite if no p below alpha exists (fewer than 6 seeds for 0.05).

    Raises:
        ValueError: sd is negative, or 0 < alpha < power < 1 does not hold.
    """
    from scipy.special import nctdtrinc, ndtri, stdtrit

    if not sd >= 0:
        raise ValueError(f"sd must not be negative, got {sd}.")
    if not 0 < alpha < power < 1:
        raise ValueError(f"0 < alpha < power < 1 is needed, got alpha {alpha} and power {power}.")
    if n < least_seeds(alpha):
        return math.inf
    # Patterns come in pairs of opposite signs, so p is a multiple of 2^(1-n); beyond 50 seeds the grid is finer than
    # a float.
    significant = math.ceil(alpha * 2 ** (n - 1)) - 1 if n <= 50 else math.inf
    if significant == 1:
        return sd * float(ndtri(power ** (1 / n)))
    attained = alpha if n > 50 else significant / 2 ** (n - 1)
    critical = stdtrit(n - 1, 1 - attained / 2)
    return sd * (float(nctdtrinc(n - 1, 1 - power, critical)) / math.sqrt(n))


def seeds_needed(sd: float, effect: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the fewest seeds whose minimum detectable effect is at most this effect.

    Args:
        sd: Standard deviation of the paired differences over seeds, in the unit of the metric.
        effect: In the same unit; its sign does not count.
        power: Probability of finding the effect.
        alpha: Level of the test.

    Raises:
        ValueError: As minimum_detectable_effect; or an effect of 0, which no number of seeds detects.
    """
    if effect == 0 or not math.isfinite(effect):
        raise ValueError(f"The effect must be finite and not 0, got {effect}.")

    def is_detectable(n: int) -> bool:
        return minimum_detectable_effect(sd, n, power, alpha) <= abs(effect)

    low = high = least_seeds(alpha)
    while not is_detectable(high):
        low, high = high + 1, 2 * high
        if high > _MOST_SEEDS:
            raise ValueError(f"An effect of {effect} at sd {sd} needs more seeds than can be counted.")
    return low + bisect.bisect_left(range(low, high), True, key=is_detectable)
