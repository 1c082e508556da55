"""What is drawn is what the records say; what the records do not have is not drawn."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sweep_factory import make_sweep

from ablation.records.schema import RunRecord, Status
from ablation.records.storage import read_record, write_record
from ablation.report.figures.catalog import FIGURES
from ablation.report.figures.detections import find_pictures
from ablation.report.figures.style import style, wrap_label
from ablation.report.loading.sweep import load_sweep, load_sweeps
from ablation.report.statistics import summaries
from ablation.report.statistics.findings import Findings

NAMES = {spec.name for spec in FIGURES}
GRID = {"noise.sigma": [0.0, 0.5, 1.0], "seed": [0, 1, 2]}
LEVELS = {"noise.levels": [["p2"], ["p3"]], **GRID}


@pytest.fixture
def found(tmp_path):
    """The findings of a synthetic sweep."""

    def make(grid, **how):
        return Findings.of(load_sweep(make_sweep(tmp_path / "s", grid, **how).folder))

    return make


def drawn(findings):
    with style():
        return {spec.name: figure for spec in FIGURES if (figure := spec.draw(findings))}


def numbers(figure):
    """The numbers that a heat map has written, row by row."""
    return [float(text.get_text()) for text in figure.axes[0].texts]


def test_a_full_sweep_shows_everything_and_each_figure_has_a_caption(found):
    assert set(drawn(found(LEVELS, is_full=True))) == NAMES - {"detections"}
    assert len(NAMES) == len(FIGURES)
    assert all(spec.section and spec.title and spec.caption.endswith(".") for spec in FIGURES)


def test_a_picture_of_each_cell_shows_the_same_image(found, tmp_path):
    findings = found(GRID)
    for run_id in findings.sweep.runs["run_id"]:
        folder = tmp_path / "s" / "runs" / run_id / "pictures"
        folder.mkdir()
        for name in ("7.png", "8.png") if "sigma1.0-s0" not in run_id else ("8.png",):
            Image.new("RGB", (40, 20), (0, 0, 0)).save(folder / name)
    shown = find_pictures(findings.sweep, 6)
    assert [name for name, _ in shown] == ["baseline", "sigma 0.5", "sigma 1"]
    assert {path.name for _, path in shown} == {"8.png"}
    assert [ax.get_title() for ax in drawn(findings)["detections"].axes][:3] == ["baseline", "sigma 0.5", "sigma 1"]


def test_a_plain_sweep_shows_only_what_it_has(found):
    assert set(drawn(found(GRID))) == {"metric_against_sigma", "differences", "losses"}


def test_a_single_run_has_no_differences_to_show(found):
    assert "differences" not in drawn(found({"noise.sigma": [0.0], "seed": [0]}, is_full=True))


def test_nothing_finished_is_no_figure(found):
    assert drawn(found(GRID, status=lambda _: Status.PLANNED, is_full=True)) == {}


def test_the_map_of_levels_holds_the_paired_differences(found):
    findings = found(LEVELS)
    expected = [round(e.difference, 1) for e in findings.outcome.compared]
    assert numbers(drawn(findings)["levels"]) == expected
    assert len(expected) == 4


def test_differences_of_survivors_are_named_in_the_forest_and_left_out_of_the_map_of_levels(found):
    def status(config):
        broke = config["noise.levels"] == ["p2"] and config["noise.sigma"] == 1.0 and config["seed"] == 0
        return Status.DIVERGED if broke else Status.COMPLETED

    findings = found(LEVELS, status=status)
    labels = [text.get_text() for text in drawn(findings)["differences"].axes[0].get_yticklabels()]
    assert [" ".join(label.split()) for label in labels if "diverged" in label] == [
        "levels p2, sigma 1, diverged 1 of 3"
    ]
    assert math.isnan(summaries.by_level(findings).loc["p2", "1"])


def test_the_map_of_levels_has_a_column_for_each_setting_that_was_tried_on_several(found):
    found({"noise.when": ["train", "always"], "noise.sigma": [0.5, 1.0], "seed": [0, 1, 2]})
    findings = found(LEVELS)  # p2 and p3 in training alone, beside all levels in both
    table = summaries.by_level(findings)
    assert table.columns.name == "noise.when, noise.sigma"
    assert table.columns.tolist() == ["train, 0.5", "train, 1"]
    assert table.index.tolist() == ["all", "p2", "p3"]
    cells = {(e.factors["noise.when"], e.sigma, e.factors["noise.levels"]): e for e in findings.outcome.compared}
    assert table.loc["p3", "train, 1"] == cells["train", 1.0, "p3"].difference


def test_a_model_stands_in_the_matrix_once_with_its_score_without_test_noise(found, tmp_path):
    findings = found({"noise.when": ["always", "train"], **GRID}, is_full=True)
    for run_id in findings.sweep.runs["run_id"].unique():
        path = tmp_path / "s" / "runs" / run_id / "record.json"
        record = read_record(path, RunRecord)
        write_record(path, replace(record, grid=[score for score in record.grid if score.sigma]))
    sweep = load_sweep(tmp_path / "s")
    matrix = summaries.train_by_test(sweep)
    assert matrix.columns.tolist() == ["0", "0.25", "0.5", "1"]
    assert matrix.index.tolist() == ["baseline", "when train, sigma 0.5", "when train, sigma 1"]
    runs = sweep.runs[(sweep.runs["noise.when"] == "train") & (sweep.runs["noise.sigma"] == 1)]
    assert matrix.loc["when train, sigma 1", "0"] == pytest.approx(runs["segm/AP"].mean())


def test_a_difference_under_test_noise_is_that_of_each_seed_to_its_baseline_under_the_same(found):
    findings = found(GRID, is_full=True)
    told = summaries.test_differences(findings.sweep)
    assert list(told) == ["sigma 0.5", "sigma 1"]
    assert list(told["sigma 1"]) == ["0", "0.25", "0.5", "1"]
    grid = findings.sweep.grid.merge(findings.sweep.runs[["run_id", "seed", "noise.sigma"]], on="run_id")
    grid = grid[(grid["metric"] == "segm/AP") & (grid["test_sigma"] == 0.5)]
    means = grid.groupby(["noise.sigma", "seed"])["value"].mean()
    expected = (means[1.0] - means[0.0]).to_numpy()
    one = told["sigma 1"]["0.5"]
    assert list(one.differences.values()) == pytest.approx(expected)
    half = 4.302652729911275 * expected.std(ddof=1) / np.sqrt(3)  # t of two degrees
    assert (one.difference_interval.low, one.difference_interval.high) == pytest.approx(
        (expected.mean() - half, expected.mean() + half)
    )


def test_a_long_name_is_never_broken_between_a_key_and_its_value():
    folded = wrap_label("noise gaussian, when train, sigma 0.1155, levels p2").split("\n")
    assert len(folded) > 1
    assert [part.strip() for line in folded for part in line.rstrip(",").split(", ")] == [
        "noise gaussian", "when train", "sigma 0.1155", "levels p2",
    ]  # fmt: skip


def test_the_matrix_and_the_curves_hold_the_same_means(found):
    findings = found(GRID, is_full=True)
    matrix = summaries.train_by_test(findings.sweep)
    assert matrix.index.tolist() == ["baseline", "sigma 0.5", "sigma 1"]
    assert matrix.columns.tolist() == ["0", "0.25", "0.5", "1"]
    runs = findings.sweep.runs
    clean = runs[runs["noise.sigma"] == 0]["segm/AP"].mean()
    assert matrix.loc["baseline", "0.5"] == pytest.approx(clean - 4)
    figures_ = drawn(findings)
    assert numbers(figures_["test_matrix"]) == [round(v, 1) for v in matrix.to_numpy().ravel()]
    lines = [line.get_ydata() for line in figures_["test_noise"].axes[0].lines]
    assert np.allclose(lines, matrix)
    assert [text.get_text() for text in figures_["test_noise"].legends[0].get_texts()] == matrix.index.tolist()


def test_a_corruption_starts_at_the_clean_image(found):
    findings = found(GRID, is_full=True)
    points = summaries.corruption_curves(findings.sweep)
    fog = points[(points["corruption"] == "fog") & (points["cell"] == "baseline")]
    assert fog["x"].tolist() == [0, 1, 3, 5]
    assert (fog["value"].iloc[0] - fog["value"]).round(6).tolist() == [0, 1.5, 4.5, 7.5]


def test_a_cell_of_the_forest_is_filled_only_when_it_is_claimed(found):
    for seeds, is_claimed in (([0, 1, 2], False), (list(range(8)), True)):
        findings = found({"noise.sigma": [0.0, 0.9, 1.0], "seed": seeds})
        dots = drawn(findings)["differences"].axes[0].collections[-1]
        assert len(dots.get_offsets()) == 2
        assert (dots.get_facecolors()[0, 3] == 1) == is_claimed  # opaque
        assert dots.get_offsets()[0, 0] == findings.outcome.compared[0].difference


def test_the_validation_loss_stands_beside_the_training_loss(found):
    left, right = drawn(found(GRID, is_full=True))["losses"].axes
    assert "noise on" in left.get_title()
    assert "noise off" in right.get_title()
    assert left.get_ylim() == right.get_ylim()


def test_costs_are_multiples_of_the_baseline(found):
    costs = summaries.costs(found(GRID, is_full=True).sweep)
    means = costs.groupby(["what", "cell"])["value"].mean()
    assert means["time of an iteration", "baseline"] == 1
    assert means["time of an iteration", "sigma 1"] == pytest.approx(0.26 / 0.25)
    assert means["peak memory", "sigma 1"] == pytest.approx(920 / 900)


def test_sweeps_side_by_side_are_cells_of_their_own(tmp_path):
    for name in ("one", "two"):
        make_sweep(tmp_path / name, GRID, is_full=True, base={"schedule.iterations": len(name)})
    both = Findings.of(load_sweeps([tmp_path / "one", tmp_path / "two"]))
    assert summaries.train_by_test(both.sweep).index.tolist()[:2] == ["baseline, sweep one", "sweep one, sigma 0.5"]
    assert set(drawn(both)) == NAMES - {"levels", "detections"}
