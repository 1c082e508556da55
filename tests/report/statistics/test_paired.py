"""Paired inference against closed forms, its symmetries, and simulations whose truth is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from ablation.report.statistics.paired import (
    EXACT_SEEDS,
    holm,
    image_variance,
    interval,
    joint_p,
    least_seeds,
    sign_flip_p,
)
from ablation.report.statistics.power import minimum_detectable_effect, seeds_needed

differences = st.lists(st.floats(-20, 20, allow_nan=False), min_size=1, max_size=8).map(np.array)


def crossed(generator, seeds, seed, image, both, images=100, resamples=100):
    """Additive scores: differences (seeds,) with mean 0 in truth and their resamples (seeds, resamples)."""
    y = seed * generator.standard_normal((seeds, 1)) + math.sqrt(images) * (
        image * generator.standard_normal(images) + both * generator.standard_normal((seeds, images))
    )
    weights = generator.multinomial(images, np.full(images, 1 / images), size=resamples) / images
    return y.mean(axis=1), y @ weights.T


@pytest.mark.parametrize("seeds", [3, 6, 10])
@pytest.mark.parametrize("deviations", [(1, 0, 0), (1, 0.6, 0.3), (1, 1, 1), (0.3, 1, 0.3), (0, 1, 0), (0, 0, 1)])
def test_the_interval_covers_seeds_and_images_at_any_ratio_of_their_variances(seeds, deviations):
    generator = np.random.default_rng(0)
    repetitions, hits = 600, 0
    for _ in range(repetitions):
        found = interval(*crossed(generator, seeds, *deviations))
        hits += found.low <= 0 <= found.high
    # Between 92 % and 98 %, each with three standard errors of a share of 600.
    assert 0.92 - 3 * math.sqrt(0.92 * 0.08 / repetitions) < hits / repetitions
    assert hits / repetitions < 0.98 + 3 * math.sqrt(0.98 * 0.02 / repetitions)


def test_a_percentile_bootstrap_over_three_seeds_would_not_cover():
    generator = np.random.default_rng(0)
    d = generator.standard_normal((1000, 3))
    picked = generator.integers(3, size=(500, 3))
    low, high = np.quantile(d[:, picked].mean(axis=2), [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.8


def test_without_resamples_the_interval_is_students_and_says_so():
    d = np.array([1.0, 2.0, 4.0, 4.5])
    found = interval(d)
    expected = scipy_stats.t.interval(0.95, 3, d.mean(), d.std(ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.covers, found.caveat) == ("seeds", "The choice of test images is not covered.")


def test_one_seed_covers_images_alone_and_says_so():
    D = np.random.default_rng(0).normal(1.0, 0.4, (1, 5000))
    found = interval(np.array([1.0]), D)
    assert (found.covers, found.caveat) == ("images", "One seed: the variance of training is not covered.")
    assert found.high - 1.0 == pytest.approx(1.96 * D.std(ddof=1), rel=1e-3)
    assert interval(np.array([1.0])) is None
    assert interval(np.array([])) is None
    assert interval(np.array([math.nan]), D) is None


def test_the_interaction_is_counted_once():
    generator = np.random.default_rng(0)
    # The images' 1, not 1.5 with half of the interaction, which the spread of the seeds holds already.
    found = [image_variance(crossed(generator, 2, 1, 1, 1)[1]) for _ in range(1500)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.05)
    d, D = crossed(generator, 2, 1, 1, 1, resamples=1000)
    (seeds, images), tails = (d.var(ddof=1) / 2, image_variance(D)), scipy_stats.t.ppf(0.975, [1, 999])
    assert interval(d, D).high == pytest.approx(d.mean() + math.sqrt(tails**2 @ [seeds, images]))


def test_missing_seeds_and_missing_resamples_are_left_out():
    generator = np.random.default_rng(0)
    d, D = crossed(generator, 4, 1, 1, 1)
    expected = interval(d[:3], D[:3, 2:])
    d[3] = D[0, 0] = D[1, 1] = math.nan
    assert interval(d, D) == expected
    D[0] = math.nan
    assert interval(d, D).covers == "seeds"


def test_few_images_widen_the_interval():
    d, D = crossed(np.random.default_rng(0), 3, 0, 1, 0)
    assert interval(d, D, images=5).high > interval(d, D).high
    assert interval(d, D, images=100_000).high == pytest.approx(interval(d, D).high, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 2)),), r"differences must be \(n,\) and resampled \(n, B\), got \(2, 2\) and None"),
        ((np.ones(3), np.ones((2, 5))), r"got \(3,\) and \(2, 5\)"),
        ((np.ones(3), None, 1.0), "between 0 and 1, got 1.0"),
        ((np.ones(3), None, 0.9, 1), "images must be at least 2, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        interval(*arguments)


@given(differences, st.randoms(use_true_random=False), st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_order_sign_and_unit_change_nothing_but_themselves(d, random, unit):
    D = d[:, None] + np.random.default_rng(0).standard_normal((len(d), 20))
    order = random.sample(range(len(d)), len(d))
    here, shuffled = interval(d, D), interval(d[order], D[order])
    turned, scaled = interval(-d, -D), interval(unit * d, unit * D)
    assert (shuffled.low, shuffled.high) == pytest.approx((here.low, here.high), abs=1e-9)
    assert (turned.low, turned.high) == pytest.approx((-here.high, -here.low), abs=1e-9)
    assert (scaled.low, scaled.high) == pytest.approx((unit * here.low, unit * here.high), abs=1e-7)
    p = sign_flip_p(d)
    assert sign_flip_p(d[order]) == sign_flip_p(-d) == p
    assert sign_flip_p(4 * d) == p  # a power of two: no rounding
    assert 2.0 ** (1 - len(d)) <= p <= 1


def test_the_smallest_p_by_number_of_seeds():
    for n, smallest in {1: 1.0, 3: 0.25, 5: 0.0625, 6: 0.03125}.items():
        assert sign_flip_p(np.linspace(1, 2, n)) == smallest
    assert least_seeds() == 6
    assert (least_seeds(0.0625), least_seeds(0.05 / 12)) == (6, 9)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=7))
@settings(max_examples=40, deadline=None)
def test_the_sign_flip_p_is_the_share_of_all_patterns_ties_included(integers):
    d = np.array(integers, dtype=float)
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    assert sign_flip_p(d) == np.mean(np.array(sums) >= abs(d.sum()))


def test_the_sign_flip_p_is_scipys():
    d = np.random.default_rng(1).normal(0.4, 1, 9)
    exact = scipy_stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(d) == pytest.approx(exact.pvalue)


def test_ties_by_rounding_are_ties():
    assert sign_flip_p(np.array([0.1, 0.2, -0.3])) == 1
    assert sign_flip_p(np.zeros(6)) == 1
    assert math.isnan(sign_flip_p(np.array([math.nan])))


def test_above_the_exact_range_patterns_are_drawn_and_p_is_never_zero():
    n = EXACT_SEEDS + 4
    assert sign_flip_p(np.ones(n)) == 2.0 ** (1 - EXACT_SEEDS)
    d = np.random.default_rng(0).normal(0.5, 1, n)
    assert sign_flip_p(d) == sign_flip_p(d[::-1]) == sign_flip_p(-d)
    assert sign_flip_p(d) == pytest.approx(scipy_stats.ttest_1samp(d, 0).pvalue, abs=0.01)
    assert sign_flip_p(d) == pytest.approx(sign_flip_p(d, seed=1), abs=0.005)


def test_holm_as_by_hand_and_missing_values_do_not_count():
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    found = holm(np.array([0.01, math.nan, 0.04, 0.03]))
    assert found[[0, 2, 3]].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(found[1])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def brute_joint_p(rows):
    """Step-down max-T by its definition: one hypothesis after the other, all 2^n patterns."""
    signs = np.array(list(itertools.product((1, -1), repeat=rows.shape[1])))
    observed = np.abs(rows.mean(axis=1))
    left, p, last = list(np.argsort(-observed)), np.empty(len(rows)), 0.0
    while left:
        largest = np.abs(signs @ rows[left].T / rows.shape[1]).max(axis=1)
        last = max(last, np.mean(largest >= observed[left[0]] - 1e-12))
        p[left.pop(0)] = last
    return p


def test_the_joint_p_is_step_down_max_t():
    generator = np.random.default_rng(0)
    for _ in range(20):
        rows = generator.normal(0.6, 1, (5, 6)) + generator.normal(0, 1, 6)
        assert joint_p(rows) == pytest.approx(brute_joint_p(rows))
        order = generator.permutation(6)
        assert (joint_p(rows[:, order]) == joint_p(rows)).all()
        assert (joint_p(-rows) == joint_p(rows)).all()
        assert (joint_p(rows[::-1]) == joint_p(rows)[::-1]).all()


def test_the_joint_p_of_one_hypothesis_is_its_own_and_no_smaller_among_others():
    rows = np.random.default_rng(0).normal(0.5, 1, (4, 8))
    assert joint_p(rows[:1])[0] == sign_flip_p(rows[0])
    assert all(joint_p(rows)[i] >= sign_flip_p(row) for i, row in enumerate(rows))
    # Cells that are one another's copies cost nothing, where Holm would multiply by their number.
    assert joint_p(np.repeat(rows[:1], 12, axis=0)).tolist() == [sign_flip_p(rows[0])] * 12


def test_missing_pairs_and_missing_rows_of_the_joint_p():
    rows = np.random.default_rng(0).normal(1, 1, (3, 7))
    padded = np.vstack([rows, np.full(7, math.nan)])
    assert joint_p(padded)[:3].tolist() == joint_p(rows).tolist()
    assert math.isnan(joint_p(padded)[3])
    assert joint_p(np.hstack([rows[:1], [[math.nan]]]))[0] == sign_flip_p(rows[0])
    assert joint_p(np.empty((0, 6))).tolist() == []


def t_power(ratio, n, alpha):
    critical, shift = scipy_stats.t.ppf(1 - alpha / 2, n - 1), ratio * math.sqrt(n)
    return scipy_stats.nct.sf(critical, n - 1, shift) + scipy_stats.nct.cdf(-critical, n - 1, shift)


def test_the_detectable_effect_is_the_noncentral_ts_at_the_level_that_the_exact_test_attains():
    for n, level in {10: 25 / 512, 60: 0.05}.items():
        assert t_power(minimum_detectable_effect(1.0, n), n, level) == pytest.approx(0.8, abs=1e-4)
    assert minimum_detectable_effect(1.0, 20, power=0.9) > minimum_detectable_effect(1.0, 20)
    assert minimum_detectable_effect(0.4, 12) == pytest.approx(0.4 * minimum_detectable_effect(1.0, 12))


def test_fewer_seeds_than_the_test_can_decide_detect_nothing():
    assert minimum_detectable_effect(0.5, 5) == math.inf
    assert minimum_detectable_effect(0.5, 6) < math.inf
    assert seeds_needed(0.01, 1.0) == 6
    assert seeds_needed(0.0, 1.0) == 6


@pytest.mark.parametrize("n", [6, 7, 8, 10])
def test_the_detectable_effect_is_found_by_the_exact_test_itself(n):
    generator = np.random.default_rng(n)
    effect = minimum_detectable_effect(1.0, n)
    found = np.mean([sign_flip_p(row) < 0.05 for row in effect + generator.standard_normal((1500, n))])
    assert found == pytest.approx(0.8, abs=0.05)


def test_the_seeds_needed_are_the_fewest_whose_detectable_effect_suffices():
    for sd, effect in ((0.5, 0.5), (1.0, 0.5), (1.0, -0.05)):
        n = seeds_needed(sd, effect)
        assert minimum_detectable_effect(sd, n) <= abs(effect) < minimum_detectable_effect(sd, n - 1)
    with pytest.raises(ValueError, match="not 0"):
        seeds_needed(1.0, 0.0)
    with pytest.raises(ValueError, match="more seeds than can be counted"):
        seeds_needed(1.0, 1e-9)
    with pytest.raises(ValueError, match="alpha < power"):
        minimum_detectable_effect(1.0, 8, power=0.01)
    with pytest.raises(ValueError, match="not be negative"):
        minimum_detectable_effect(-1.0, 8)
