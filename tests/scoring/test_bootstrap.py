"""AP on resamples of the test images: the same images for every run, and intervals that cover their choice."""

import numpy as np
import pytest
from scoring_factory import random_case
from sweep_factory import make_sweep, read_cells

from ablation.evaluation.matching import match
from ablation.records.errors import RecordError
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.findings import Findings
from ablation.scoring import accumulate
from ablation.scoring.bootstrap import RESAMPLES, read_resamples, write_resamples


def test_each_resample_is_an_evaluation_of_those_images(tmp_path):
    truth, found = random_case(3, "bbox", images=12)
    matches = match(truth, found, "bbox")
    write_resamples(tmp_path / "resamples.npz", {"bbox": matches}, "bbox/AP50")
    weights = np.random.RandomState(0).multinomial(12, np.full(12, 1 / 12), size=RESAMPLES)
    for name in ("AP", "AP50"):
        values, images = read_resamples(tmp_path / "resamples.npz", f"bbox/{name}")
        assert (values.shape, images) == ((RESAMPLES,), 12)
        assert values[7] == pytest.approx(accumulate(matches, weights[7])[name], abs=1e-5)
    assert read_resamples(tmp_path / "resamples.npz", "segm/AP") is None


def test_what_is_not_there_is_none_and_what_is_torn_is_refused(tmp_path):
    assert read_resamples(tmp_path / "none.npz", "bbox/AP") is None
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(RecordError, match=r"torn\.npz cannot be read as resamples"):
        read_resamples(tmp_path / "torn.npz", "bbox/AP")


@pytest.mark.parametrize(("seeds", "covers"), [([0], "images"), ([0, 1, 2], "seeds and images")])
def test_intervals_cover_the_images_where_every_run_has_resamples(tmp_path, seeds, covers):
    paths = make_sweep(tmp_path / "sweep", {"noise.sigma": [0, 0.1], "seed": seeds})
    rng = np.random.default_rng(0)
    shared, of_noise = rng.normal(size=(2, RESAMPLES))
    cells = list(read_cells(paths.cells))
    for cell in cells:
        values = 38 + shared + 0.1 * of_noise * (cell.sigma > 0)
        np.savez(paths.run(cell.run_id).resamples, images=50, **{"segm/AP": values})
    (one,) = [e for e in Findings.of(load_sweep(paths.folder)).outcome.estimates if e.difference_interval]
    interval = one.difference_interval
    assert interval.covers == covers
    # The images' share of the half-width: a standard error of 0.1, with t of 49 degrees of freedom.
    of_seeds = 4.3027 * one.sd / 3**0.5 if len(seeds) > 1 else 0.0
    half = (interval.high - interval.low) / 2
    assert (half**2 - of_seeds**2) ** 0.5 == pytest.approx(2.0096 * 0.1, rel=0.1)
    paths.run(cells[0].run_id).resamples.unlink()
    without = [e.difference_interval for e in Findings.of(load_sweep(paths.folder)).outcome.estimates]
    assert {i.covers for i in without if i} == ({"seeds"} if len(seeds) > 1 else set())
