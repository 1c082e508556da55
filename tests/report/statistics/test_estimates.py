"""Cells, their baselines and their families: what is paired with what, and what the rule is asked about."""

import math

import numpy as np
import pytest
from sweep_factory import make_sweep

from ablation.records.schema import Status
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.estimates import (
    as_frame,
    baseline_spread,
    estimate,
    is_strength,
)
from ablation.report.statistics.findings import Findings
from ablation.report.statistics.paired import interval
from ablation.report.statistics.verdicts import aggregate_estimates, judge
from ablation.scoring.bootstrap import RESAMPLES


def test_the_spread_of_the_baseline_ignores_what_is_missing(tmp_path):
    sweep = load_sweep(
        make_sweep(tmp_path / "s", {"noise.sigma": [0, 1.0], "seed": [0, 1, 2]}, score=lambda c: 1.0 + c["seed"]).folder
    )
    assert baseline_spread(sweep.runs, "segm/AP") == (1.0, 3.0)
    runs = sweep.runs.copy()
    runs.loc[runs["seed"] == 2, "segm/AP"] = math.nan
    assert baseline_spread(runs, "segm/AP") == (1.0, 2.0)
    runs.loc[runs["seed"] == 1, "status"] = "failed"
    assert baseline_spread(runs, "segm/AP") is None


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
    assert {"p", "p_adjusted", "p_holm"} <= set(frame)


def test_all_cells_together_are_their_mean_and_a_probability_between_0_and_1(tmp_path):
    def score(config):
        sign = -1 if config["seed"] % 2 else 1
        return 30 + sign * config["noise.sigma"]

    grid = {"noise.sigma": [0, 1.0, 2.0], "seed": [0, 1, 3, 5]}
    found = aggregate_estimates(Findings.of(load_sweep(make_sweep(tmp_path / "s", grid, score=score).folder)).outcome)
    assert (found.cells, found.seeds) == (2, 4)
    rows = {name: (value, low, high) for name, value, low, high, _ in found.rows}
    assert rows["mean"][0] == pytest.approx(-0.75)
    value, low, high = rows["probability of improvement"]
    assert (value, low) == (0.25, 0.0)  # two seeds in eight runs; without a limit the interval would start below 0
    assert 0.25 < high <= 1.0


def test_only_seeds_with_both_values_are_paired(tmp_path):
    make_sweep(tmp_path / "s", {"noise.sigma": [0], "seed": [0, 1, 2]}, score=lambda c: float(c["seed"]))
    make_sweep(tmp_path / "s", {"noise.sigma": [0.5], "seed": [3, 2, 1]}, score=lambda c: 10.0 * c["seed"])
    sweep = load_sweep(tmp_path / "s")
    (noisy,) = (e for e in estimate(sweep.runs, sweep.factors, "segm/AP") if not e.is_baseline)
    assert noisy.differences == {1: 9.0, 2: 18.0}
    assert (noisy.n, noisy.pairs) == (3, 2)


def test_the_interval_covers_the_test_images_once_runs_have_resamples(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.5], "seed": [0, 1, 2]}).folder)
    generator = np.random.default_rng(0)
    resampled = {run_id: generator.normal(size=100) for run_id in sweep.runs["run_id"]}
    (noisy,) = (e for e in estimate(sweep.runs, sweep.factors, "segm/AP", resampled) if not e.is_baseline)
    rows = sweep.runs.set_index(["noise.sigma", "seed"])["run_id"]
    draws = np.array([resampled[rows[0.5, seed]] - resampled[rows[0.0, seed]] for seed in range(3)])
    assert noisy.difference_interval == interval(np.array(list(noisy.differences.values())), draws)
    assert noisy.difference_interval.caveat == ""
    resampled.popitem()
    (noisy,) = (e for e in estimate(sweep.runs, sweep.factors, "segm/AP", resampled) if not e.is_baseline)
    assert noisy.difference_interval.covers == "seeds"


def test_cells_that_differ_in_sigma_alone_share_a_trend(tmp_path):
    grid = {"noise.type": ["gaussian", "uniform"], "noise.sigma": [0, 0.5, 1.0], "seed": range(6)}
    sweep = load_sweep(make_sweep(tmp_path / "s", grid).folder)
    outcome = judge(estimate(sweep.runs, sweep.factors, "segm/AP"))
    assert [t.family for t in outcome.decision.trends] == ["noise.type=gaussian", "noise.type=uniform"]
    assert [e.verdict for e in outcome.compared] == list(outcome.decision.cells)
    assert all(e.verdict is None for e in outcome.estimates if e.is_baseline)


def test_a_types_own_parameter_stands_for_sigma_in_a_trend(tmp_path):
    paths = make_sweep(
        tmp_path / "s",
        {"noise.params.p": [0, 0.1, 0.5], "seed": range(6)},
        base={"noise.type": "dropout", "noise.sigma": None},
        sigma={0: 0.0, 0.1: 1 / 3, 0.5: 1.0}.__getitem__,
    )
    sweep = load_sweep(paths.folder)
    strengths = [f for f in sweep.factors if is_strength(sweep.runs, f)]
    assert strengths == ["noise.params.p"]
    outcome = judge(estimate(sweep.runs, sweep.factors, "segm/AP"), strengths)
    assert len(outcome.decision.trends) == 1


def breaking(*lost):
    """Let the training of these pairs of sigma and seed diverge."""
    return lambda c: Status.DIVERGED if (c["noise.sigma"], c["seed"]) in lost else Status.COMPLETED


def falling(config):
    return 40 + 5 * config["seed"] - config["noise.sigma"] * (4 + 0.1 * config["seed"])


def judged(tmp_path, status, **base):
    grid = {"noise.sigma": [0, 0.5, 1.0], "seed": range(8)}
    base = {f"evaluation.{key}": value for key, value in base.items()}
    paths = make_sweep(tmp_path / "s", grid, score=falling, status=status, base=base)
    return Findings.of(load_sweep(paths.folder)).outcome


def test_a_cell_is_not_judged_by_the_seeds_that_survived(tmp_path):
    outcome = judged(tmp_path, breaking((1.0, 0), (1.0, 1)))
    baseline, low, high = outcome.estimates
    assert (high.n, high.pairs, high.divergence) == (6, 6, "diverged 2 of 8")
    assert high.difference == pytest.approx(-4 - 0.1 * 4.5)  # shown, of seeds 2 to 7
    assert high.verdict is None
    assert low.verdict.is_claimed
    assert (baseline.divergence, low.divergence) == ("", "")
    assert outcome.decision.tested == 1  # no trend either: the line would leave out what broke
    assert outcome.decision.trends == ()
    assert outcome.complete == (low,)


def test_the_verdicts_of_the_other_cells_do_not_depend_on_a_cell_that_broke(tmp_path):
    outcome = judged(tmp_path, breaking((1.0, 0)))
    make_sweep(tmp_path / "t", {"noise.sigma": [0, 0.5], "seed": range(8)}, score=falling)
    alone = Findings.of(load_sweep(tmp_path / "t")).outcome
    assert outcome.decision.cells == alone.decision.cells


def test_a_baseline_that_diverged_leaves_every_cell_without_a_verdict(tmp_path):
    outcome = judged(tmp_path, breaking((0, 3)))
    baseline, *cells = outcome.estimates
    assert baseline.divergence == "diverged 1 of 8"
    assert [(e.divergence, e.pairs, e.verdict) for e in cells] == [("baseline diverged 1 of 8", 7, None)] * 2
    assert outcome.decision.tested == 0


def test_a_diverged_seed_that_scores_zero_is_a_pair_as_any_other(tmp_path):
    outcome = judged(tmp_path, breaking((1.0, 0)), diverged="zero")
    high = outcome.estimates[-1]
    assert (high.pairs, high.divergence) == (8, "diverged 1 of 8, scored 0")
    assert high.differences[0] == -40
    assert high.verdict.is_claimed
    assert len(outcome.decision.trends) == 1


def test_the_frame_says_which_differences_are_those_of_survivors_and_gives_them_no_p(tmp_path):
    frame = as_frame(judged(tmp_path, breaking((1.0, 0))).estimates).set_index("noise.sigma")
    assert frame["divergence"].tolist() == ["", "", "diverged 1 of 8"]
    assert math.isnan(frame.loc[1.0, "p"]) and frame.loc[0.5, "p"] < 0.05
    assert "divergence" not in as_frame(judged(tmp_path / "whole", breaking()).estimates)


def test_all_cells_together_leave_out_those_that_broke(tmp_path):
    assert aggregate_estimates(judged(tmp_path, breaking((1.0, 0)))) is None  # one cell is left


def test_the_interval_of_a_seed_that_scores_zero_covers_the_test_images_too(tmp_path):
    paths = make_sweep(
        tmp_path / "s", {"noise.sigma": [0, 1.0], "seed": range(3)}, status=breaking((1.0, 0)),
        base={"evaluation.diverged": "zero"},
    )  # fmt: skip
    sweep = load_sweep(paths.folder)
    for run_id in sweep.completed["run_id"]:
        np.savez(paths.run(run_id).resamples, **{"segm/AP": np.linspace(30, 40, RESAMPLES), "images": 20})
    high = Findings.of(sweep).outcome.estimates[-1]
    assert high.difference_interval.covers == "seeds and images"


def test_the_spread_is_pooled_over_the_cells(tmp_path):
    def score(config):
        return 10.0 + config["noise.sigma"] * config["seed"]

    sweep = load_sweep(
        make_sweep(tmp_path / "s", {"noise.sigma": [0, 1.0, 3.0], "seed": [0, 1, 2]}, score=score).folder
    )
    outcome = judge(estimate(sweep.runs, sweep.factors, "segm/AP"))
    assert outcome.sd == pytest.approx(math.sqrt((1 + 9) / 2))
