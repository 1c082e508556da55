"""Differences and intervals against closed forms and known coverage."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sweep_factory import make_sweep

from ablation.stats import as_frame, baseline_spread, estimate, paired_differences, smallest_p, spread, t_interval
from ablation.table import load_sweep


def test_the_t_interval_is_scipys_and_needs_two_values():
    values = np.array([1.0, 2.0, 4.0, 4.5])
    expected = scipy_stats.t.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert tuple(t_interval(values)) == pytest.approx(expected)
    assert t_interval(values[:1]) is None
    assert t_interval(np.array([])) is None


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_the_interval_of_paired_differences_covers_a_known_effect(seeds):
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        seed_effect = generator.normal(0, 2.0, seeds)  # cancels in the difference
        baseline = dict(enumerate(38 + seed_effect + generator.normal(0, 0.5, seeds)))
        noisy = dict(enumerate(37 + seed_effect + generator.normal(0, 0.5, seeds)))
        interval = t_interval(paired_differences(noisy, baseline))
        hits += interval.low <= -1 <= interval.high
    assert 0.93 < hits / 2000 < 0.97


def test_only_seeds_with_both_values_are_paired():
    assert paired_differences({0: 3.0, 1: 5.0, 2: math.nan, 3: 1.0}, {0: 1.0, 2: 1.0, 1: 1.0}).tolist() == [2.0, 4.0]


def test_the_smallest_p_of_a_sign_flip_test():
    assert [smallest_p(n) for n in (1, 3, 5, 6)] == [1.0, 0.25, 0.0625, 0.03125]


def test_spread_ignores_what_is_missing():
    assert spread(np.array([2.0, math.nan, 1.0])) == (1.0, 2.0)
    assert spread(np.array([2.0, math.nan])) is None


def test_an_estimate_is_the_mean_paired_difference_to_the_baseline_of_the_same_settings(tmp_path):
    def score(config):
        return 30 + 5 * config["seed"] + (config["schedule.iterations"] == 600) * 10 - 2 * config["noise.sigma"]

    grid = {"noise.sigma": [0, 0.5], "schedule.iterations": [300, 600], "seed": [0, 1, 2]}
    sweep = load_sweep(make_sweep(tmp_path / "s", grid, score=score).folder)
    estimates = estimate(sweep.runs, sweep.factors, "segm/AP")
    assert len(estimates) == 4
    for one in estimates:
        assert one.n == one.asked == 3
        if one.is_baseline:
            assert one.difference is None
        else:
            assert one.difference == pytest.approx(-1.0)
            assert one.pairs == 3


def test_one_baseline_serves_all_noise_types(tmp_path):
    grid = {"noise.type": ["gaussian", "uniform"], "noise.sigma": [0, 0.5], "seed": [0, 1]}
    sweep = load_sweep(make_sweep(tmp_path / "s", grid).folder)
    noisy = [e for e in estimate(sweep.runs, sweep.factors, "segm/AP") if not e.is_baseline]
    assert [e.pairs for e in noisy] == [2, 2]
    assert baseline_spread(sweep.runs, "segm/AP") is not None


def test_the_frame_has_the_columns_of_the_contract(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.5], "seed": [0, 1]}).folder)
    frame = as_frame(estimate(sweep.runs, sweep.factors, "segm/AP"))
    assert {"noise.sigma", "metric", "n", "difference", "ci_low", "ci_high"} <= set(frame)
