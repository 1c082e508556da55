"""The rule of claims: what it says of known sweeps, and how often it errs where there is nothing to find."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ablation.report.statistics.decision import decide
from ablation.report.statistics.paired import holm, interval, joint_p, sign_flip_p

SIGMA = [0.1, 0.25, 0.5, 1.0] * 3
FAMILY = [name for name in ("gaussian", "uniform", "dropout") for _ in range(4)]


def sweep(generator, seeds, sd, effects):
    errors = generator.standard_normal((13, seeds)) * sd / math.sqrt(2)
    return errors[1:] - errors[0] + effects[:, None]


def claims(decision):
    return [v.is_claimed for v in (*decision.trends, *decision.cells)]


@pytest.mark.parametrize("seeds", [6, 10])
def test_at_most_one_sweep_in_twenty_without_effects_claims_any(seeds):
    generator = np.random.default_rng(seeds)
    repetitions = 1500
    false = sum(
        any(claims(decide(sweep(generator, seeds, 0.5, np.zeros(12)), SIGMA, FAMILY))) for _ in range(repetitions)
    )
    assert false / repetitions < 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)


def test_with_a_real_effect_in_one_family_the_others_are_still_safe():
    generator = np.random.default_rng(0)
    effects = np.array([-2.0, -2.0, -2.0, -2.0, *[0.0] * 8])
    false = found = 0
    for _ in range(800):
        said = claims(decide(sweep(generator, 8, 0.5, effects), SIGMA, FAMILY))
        found += said[0] and all(said[3:7])
        false += any(said[1:3]) or any(said[7:])
    assert false / 800 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 800)
    assert found / 800 > 0.9


def test_six_seeds_can_claim_where_holm_cannot():
    effects = -2 * np.array(SIGMA) * (np.array(FAMILY) == "gaussian")
    decision = decide(sweep(np.random.default_rng(0), 6, 0.3, effects), SIGMA, FAMILY)
    assert decision.trends[0].is_claimed
    assert decision.cells[3].is_claimed
    assert decision.cells[3].p == 0.03125
    assert decision.cells[3].p_holm > 0.05
    assert not any(v.is_claimed for v in (*decision.trends[1:], *decision.cells[4:]))
    assert (decision.tested, decision.reason) == (15, "")


def test_below_six_seeds_nothing_is_claimed_and_the_reason_is_said():
    decision = decide(np.full((2, 3), -5.0) + np.arange(3), [0.1, 0.5], ["gaussian"] * 2)
    assert not any(claims(decision))
    assert decision.reason == (
        "With 3 seeds the smallest p of an exact sign-flip test is 0.25, not below 0.05, so nothing is claimed; "
        "at least 6 seeds are needed."
    )
    assert decision.cells[0].p == 0.25
    assert math.isnan(decision.cells[0].p_joint)
    assert decide(np.ones((1, 1))).reason.startswith("With 1 seed the smallest p of an exact sign-flip test is 1,")
    assert decide(np.full((1, 1), math.nan)).reason.startswith("No cell has a baseline")
    assert decide(np.empty((0, 0))).cells == ()


def test_the_parts_are_those_of_the_single_tests():
    values = sweep(np.random.default_rng(1), 8, 0.5, -np.array(SIGMA))
    decision = decide(values, SIGMA, FAMILY)
    slopes = np.polyfit([0.0, *SIGMA[:4]], np.vstack([np.zeros(8), values[:4]]), 1)[0]
    first = decision.trends[0]
    assert first.slope == pytest.approx(slopes.mean())
    assert first.effect == pytest.approx(slopes.mean() * 1.0)
    assert first.p == sign_flip_p(slopes)
    assert (first.interval.low, first.interval.high) == pytest.approx((interval(slopes).low, interval(slopes).high))
    assert [t.family for t in decision.trends] == ["gaussian", "uniform", "dropout"]
    every = (*decision.trends, *decision.cells)
    assert [v.p_holm for v in every] == holm(np.array([v.p for v in every])).tolist()
    assert [v.p for v in decision.cells] == [sign_flip_p(row) for row in values]
    assert [v.p_joint for v in decide(values).cells] == joint_p(values).tolist()
    assert decide(values).trends == ()


def test_missing_pairs_are_counted_out():
    values = sweep(np.random.default_rng(1), 7, 0.3, np.full(12, -2.0))
    values[0, 0] = math.nan
    values[1, :3] = math.nan
    decision = decide(values, SIGMA, FAMILY)
    assert [v.seeds for v in decision.cells[:3]] == [6, 4, 7]
    assert math.isnan(decision.cells[1].p_joint)
    assert not decision.cells[1].is_claimed
    assert decision.trends[0].seeds == 4  # the seeds that have every cell of the family
    assert decision.tested == 13
    assert decision.cells[0].effect == pytest.approx(values[0, 1:].mean())


def test_a_trend_is_the_mean_slope_in_points_per_unit_of_sigma():
    doses, own = np.array([0.2, 1.0, 2.0]), np.array([-2.0, -3.0, -2.5])
    decision = decide(doses[:, None] * own, doses, ["gaussian"] * 3)
    (trend,) = decision.trends
    assert trend.slope == pytest.approx(-2.5)
    assert trend.effect == pytest.approx(-5.0)  # from sigma 0 to 2
    assert (trend.seeds, trend.p) == (3, 0.25)
    expected = scipy_stats.t.interval(0.95, 2, -5.0, 2 * own.std(ddof=1) / math.sqrt(3))
    assert (trend.interval.low, trend.interval.high) == pytest.approx(expected)
    assert decide(doses[:, None] * own[:1], doses, ["gaussian"] * 3).trends[0].interval is None
    assert math.isnan(decide(np.full((3, 1), math.nan), doses, ["gaussian"] * 3).trends[0].slope)


def test_a_trend_needs_two_sigmas_above_zero():
    values = np.random.default_rng(0).normal(size=(4, 6))
    decision = decide(values, [0.5, 0.1, 0.2, math.nan], ["one", "two", "two", "measured"])
    assert [t.family for t in decision.trends] == ["two"]
    with pytest.raises(ValueError, match="4 cells, 3 sigmas and 4 families do not fit"):
        decide(values, [0.1, 0.2, 0.3], ["a"] * 4)
    with pytest.raises(ValueError, match=r"must be \(cells, seeds\)"):
        decide(values[0])


def test_the_order_of_seeds_and_the_sign_change_no_byte_of_a_p():
    generator = np.random.default_rng(0)
    values = sweep(generator, 9, 0.5, -np.array(SIGMA))
    one, turned = decide(values, SIGMA, FAMILY), decide(-values, SIGMA, FAMILY)
    shuffled = decide(values[:, generator.permutation(9)], SIGMA, FAMILY)
    for v, s, t in zip(one.cells, shuffled.cells, turned.cells, strict=True):
        assert v.p == s.p == t.p
        assert v.p_joint == s.p_joint == t.p_joint
        assert v.effect == pytest.approx(s.effect) == pytest.approx(-t.effect)
