"""One number for several cells against closed forms and the numbers of rliable 1.2.0."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ablation.report.statistics.aggregate import (
    bootstrap_interval,
    iqm,
    mean,
    probability_of_improvement,
    stratified_bootstrap,
)

X = np.array(
    [
        [40.0, 40.9, 39.2, 37.3, 38.6, 37.0, 40.2],
        [44.0, 38.5, 38.1, 41.5, 41.1, 40.3, 37.2],
        [39.9, 42.1, 36.0, 38.6, 34.3, 36.1, 34.5],
    ]
)
Y = np.array([[38.3, 35.2, 39.8, 39.5, 38.4], [31.4, 37.4, 38.9, 39.3, 34.4], [37.6, 36.1, 36.6, 42.2, 36.6]])


def test_the_numbers_are_rliables():
    assert iqm(X) == pytest.approx(38.9)
    assert iqm(Y) == pytest.approx(37.68888888888889)
    assert probability_of_improvement(X, Y) == pytest.approx(0.6047619047619048)


def test_the_interquartile_mean_is_the_middle_half_and_needs_four_scores():
    assert iqm(np.array([[100.0, 1.0, 3.0, -50.0]])) == 2.0
    assert iqm(np.arange(12.0).reshape(3, 4)) == scipy_stats.trim_mean(np.arange(12.0), 0.25)
    with pytest.raises(ValueError, match="at least 4 scores, got 3"):
        iqm(np.ones((1, 3)))
    with pytest.raises(ValueError, match="Missing scores"):
        iqm(np.array([[1.0, 2.0, 3.0, math.nan]]))


def test_many_samples_at_once_give_what_each_gives_alone():
    scores = np.random.default_rng(0).normal(size=(50, 3, 7))
    for statistic in (mean, iqm, lambda x: probability_of_improvement(x, Y)):
        assert statistic(scores) == pytest.approx([float(statistic(each)) for each in scores], rel=1e-12)


def test_the_same_seed_gives_the_same_bytes():
    first, again = (stratified_bootstrap(X, iqm, seed=3).tobytes() for _ in range(2))
    assert first == again
    assert stratified_bootstrap(X, iqm, seed=4).tobytes() != first


def test_shared_seeds_are_drawn_together():
    same = np.tile(np.arange(5.0), (3, 1))
    drawn = stratified_bootstrap(same, lambda scores: (scores == scores[:, :1]).all(axis=(-2, -1)), resamples=50)
    assert drawn.all()


def test_the_interval_of_a_mean_over_one_cell_is_students():
    low, high = bootstrap_interval(X[:1], mean, resamples=20_000)
    expected = scipy_stats.t.interval(0.95, 6, X[0].mean(), X[0].std(ddof=1) / math.sqrt(7))
    assert (low, high) == pytest.approx(expected, abs=0.03)
    assert bootstrap_interval(X[:, :1], mean) is None


@pytest.mark.parametrize("seeds", [3, 6])
def test_the_interval_over_cells_with_one_baseline_covers(seeds):
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        errors = generator.standard_normal((13, seeds))
        low, high = bootstrap_interval(errors[1:] - errors[0], mean, resamples=200)
        hits += low <= 0 <= high
    assert 0.91 < hits / 300 < 0.99


def test_the_probability_of_improvement_counts_ties_half_and_mirrors():
    assert probability_of_improvement(np.ones((2, 3)), np.ones((2, 4))) == 0.5
    assert probability_of_improvement(np.ones((2, 3)), np.zeros((2, 4))) == 1.0
    assert probability_of_improvement(X, Y) == pytest.approx(1 - probability_of_improvement(Y, X))
    u = scipy_stats.mannwhitneyu(X[0], Y[0]).statistic
    assert probability_of_improvement(X[:1], Y[:1]) == pytest.approx(u / 35)
    with pytest.raises(ValueError, match="same cells, got 3 and 2"):
        probability_of_improvement(X, Y[:2])
