"""A trained model measured: detectron2's numbers, and a grid of noises at the price of one backbone."""

import numpy as np
import pytest
import torch
from detectron2.evaluation import COCOEvaluator, inference_on_dataset

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import evaluation_loader, register
from ablation.evaluation.evaluate import evaluate
from ablation.execute import execute
from ablation.models.build import build_detector
from ablation.records.errors import ConfigError
from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord, TrainingRecord
from ablation.records.storage import read_record, write_record
from ablation.scoring import Matches, accumulate

GRID = ["evaluation.noise_grid.sigmas=[0,0.3,1.0]", "evaluation.noise_grid.levels=[all,[p2,p3]]"]


@pytest.fixture
def world(compose, micro):
    """An untrained model that finds something, and a way to evaluate it with overrides."""
    config = validate_config(compose(*micro))
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    torch.manual_seed(0)
    model = detector.build()
    return model, detector, lambda *keys: evaluate(model, validate_config(compose(*micro, *keys)), dataset, detector)


def test_the_numbers_are_detectron2s(world, compose, micro):
    model, detector, measure = world
    config = validate_config(compose(*micro))
    name = register(build_dataset(config.dataset).split("test"))
    loader = evaluation_loader(detector.mapper(name, augmented=False, annotated=False), name, 8)
    evaluator = COCOEvaluator(name, ("bbox", "segm"), False, use_fast_impl=False)
    theirs = inference_on_dataset(model.eval(), loader, evaluator)
    expected = {f"{task}/{key}": value for task in ("bbox", "segm") for key, value in theirs[task].items()}
    ours = measure("noise.sigma=0")
    assert ours.metrics == {key: None if np.isnan(value) else value for key, value in expected.items()}
    assert len(ours.matches["bbox"].score) > 0


@pytest.mark.parametrize("own", ["noise.when=train", "noise.when=eval", "noise.when=eval noise.levels=[res3]"])
def test_each_cell_of_the_grid_is_what_an_evaluation_of_its_own_gives(world, own):
    _, _, measure = world
    of_grid = measure(*own.split(), *GRID)
    assert of_grid.metrics["bbox/AP"] == measure(*own.split()).metrics["bbox/AP"]
    assert len(of_grid.grid) == 6
    for cell in of_grid.grid:
        levels = cell.levels if cell.levels == "all" else "[p2,p3]"
        alone = measure("noise.when=eval", f"noise.sigma={cell.sigma}", f"noise.levels={levels}")
        assert cell.metrics == alone.metrics
        assert cell.telemetry == alone.telemetry


def test_draws_differ_and_do_not_depend_on_the_batch(world):
    _, _, measure = world
    overrides = ["noise=none", "evaluation.noise_grid.sigmas=[0.5]", "evaluation.noise_grid.draws=3"]
    first = measure(*overrides)
    assert [cell.draw for cell in first.grid] == [0, 1, 2]
    noise_rms = [cell.telemetry["p2"].noise_rms for cell in first.grid]
    assert len(set(noise_rms)) == 3
    assert [
        cell.telemetry["p2"].noise_rms for cell in measure(*overrides, "evaluation.batch_size=1").grid
    ] == pytest.approx(noise_rms, rel=1e-5)


def test_the_summary_of_the_grid(world):
    _, _, measure = world
    found = measure("noise=none", "evaluation.noise_grid.sigmas=[0,0.2,0.4]")
    noisy = [cell.metrics["bbox/AP"] for cell in found.grid if cell.sigma]
    assert found.metrics["bbox/mPFN"] == pytest.approx(sum(noisy) / 2)
    if found.metrics["bbox/AP"]:
        assert found.metrics["bbox/rPFN"] == pytest.approx(100 * sum(noisy) / 2 / found.metrics["bbox/AP"])
    else:
        assert found.metrics["bbox/rPFN"] is None


def test_a_model_is_as_it_was_after_an_evaluation(world):
    model, _, measure = world
    measure("noise=none", *GRID)
    assert "forward" not in vars(model.backbone)
    assert not model._forward_pre_hooks


def test_a_checkpoint_goes_through_the_grid_without_training(compose, micro, tmp_path):
    trained = compose(*micro, "noise.sigma=0", f"sweep.root={tmp_path}")
    first = execute(trained)
    sweep = SweepPaths(tmp_path / validate_config(trained).sweep_name)
    weights = sweep.training(first.training_id).weights
    only = compose(*micro, "noise=none", "schedule.iterations=0", f"model.weights={weights}", *GRID)
    record = execute(only | {"sweep": only["sweep"] | {"root": str(tmp_path)}})
    assert {key: value for key, value in record.metrics.items() if "PFN" not in key} == first.metrics
    assert len(record.grid) == 6
    training = read_record(sweep.training(record.training_id).record, TrainingRecord)
    assert training.iterations == 0
    assert not training.weights.missing
    again = tmp_path / "record.json"
    write_record(again, record)
    written = again.read_bytes()
    write_record(again, read_record(again, RunRecord))
    assert again.read_bytes() == written
    matches = Matches.load(sweep.run(record.run_id).matches("bbox"))
    assert accumulate(matches)["AP"] == record.metrics["bbox/AP"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["schedule.iterations=0", "noise.sigma=0.1"], "schedule.iterations=0 trains nothing, so noise.when=train"),
        (["evaluation.noise_grid.sigmas=[-1]"], "evaluation.noise_grid.sigmas.* must be .*>= 0"),
        (["evaluation.noise_grid.sigmas=[0.1]", "evaluation.noise_grid.types=[dsu]"], "noise_grid: .*dsu"),
        (["evaluation.noise_grid.types=[]"], "evaluation.noise_grid.types"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(compose, micro, keys, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(compose(*micro, *keys))
