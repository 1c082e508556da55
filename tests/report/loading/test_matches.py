"""Scores on any test images are those of the stored matches, without what made these."""

import math

import numpy as np
import pytest
from scoring_factory import random_case
from sweep_factory import make_sweep

from ablation.evaluation.matching import match
from ablation.records.errors import AblationError, RecordError
from ablation.report.loading.sweep import load_sweep, load_sweeps
from ablation.scoring import accumulate

MATCHES = match(*random_case(3, "segm", images=12), "segm")


@pytest.fixture
def sweep(tmp_path):
    paths = make_sweep(tmp_path / "s", {"noise.sigma": [0]}, score=lambda _: accumulate(MATCHES)["AP"])
    sweep = load_sweep(paths.folder)
    MATCHES.save(paths.run(sweep.runs["run_id"][0]).matches("segm"))
    return sweep


@pytest.fixture
def run_id(sweep):
    return sweep.runs["run_id"][0]


def test_on_all_images_it_is_the_number_of_the_record(sweep, run_id):
    assert sweep.ap(run_id) == sweep.runs["segm/AP"][0]
    assert sweep.ap(run_id, MATCHES.image_ids) == sweep.runs["segm/AP"][0]


@pytest.mark.parametrize("metric", ["AP", "AP50", "APs", "AR10", f"AP-{MATCHES.category_names[0]}"])
def test_on_a_subset_it_is_what_scoring_gives_for_these_weights(sweep, run_id, metric):
    generator = np.random.default_rng(0)
    for size in (1, 3, 8):
        positions = generator.choice(12, size)  # some twice
        expected = accumulate(MATCHES, np.bincount(positions, minlength=12))[metric]
        images = MATCHES.image_ids[positions]
        for given in (images, images.tolist(), iter(images)):
            assert sweep.ap(run_id, given, f"segm/{metric}") == pytest.approx(expected, abs=0, nan_ok=True)


def test_of_no_image_there_is_no_score(sweep, run_id):
    assert math.isnan(sweep.ap(run_id, []))


def test_beside_another_sweep_the_run_is_found_in_its_own_folder(sweep, run_id, tmp_path):
    other = make_sweep(tmp_path / "other", {"noise.sigma": [0.5]})
    assert load_sweeps([other.folder, sweep.folder]).ap(run_id) == sweep.ap(run_id)


def test_what_is_unknown_is_refused_with_what_there_is(sweep, run_id):
    with pytest.raises(AblationError, match=r"'none' is no completed run of s. sweep.completed\['run_id'\] lists"):
        sweep.ap("none")
    first = MATCHES.image_ids[0]
    with pytest.raises(AblationError, match=rf"-7 is no test image of {run_id}. .* 12 images, .* {first}, "):
        sweep.ap(run_id, [first, -7])
    with pytest.raises(AblationError, match=r"segm/AP60 cannot be scored. Unknown metrics \['AP60'\]; there are AP,"):
        sweep.ap(run_id, metric="segm/AP60")
    with pytest.raises(AblationError, match=r"matches-bbox.npz does not exist. Matches are stored for: segm."):
        sweep.ap(run_id, metric="bbox/AP")


def test_missing_and_damaged_files_are_named(sweep, run_id):
    path = sweep.folder / "runs" / run_id / "matches-segm.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RecordError, match=r"matches-segm.npz cannot be read as matches"):
        sweep.ap(run_id)
    path.unlink()
    with pytest.raises(AblationError, match=r"matches-segm.npz does not exist. No matches are stored for this run."):
        sweep.ap(run_id)
