"""Checkpoints: layers that fit are reported, code is not run, and detectron2's own give detectron2's own AP."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from safetensors.torch import save_file
from torch import nn

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import evaluation_loader, register
from ablation.execute import execute
from ablation.models.build import build_detector
from ablation.models.weights import load_weights
from ablation.records.errors import RunError
from ablation.records.paths import SweepPaths
from ablation.records.schema import TrainingRecord
from ablation.records.storage import read_record


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))


def saved(folder, kind, weights):
    path = folder / f"weights.{kind}"
    if kind == "safetensors":
        save_file(weights, path)
    elif kind == "pth":
        torch.save({"model": weights}, path)
    else:
        arrays = {name: value.numpy() for name, value in weights.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "us"}))
    return str(path)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pkl"])
def test_the_report_says_which_layers_were_loaded(tmp_path, kind):
    given = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(5), "2.weight": torch.ones(1)}
    ours = model()
    report = load_weights(ours, saved(tmp_path, kind, given))
    assert (report.loaded, report.missing, report.wrong_shape) == (1, ("1.bias", "1.weight"), ("0.bias",))
    assert report.unexpected == ("2.weight",)
    assert torch.equal(ours[0].weight, given["0.weight"])
    assert "1 parameters and buffers" in str(report)


def test_a_checkpoint_that_fits_nothing_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"no layer of .* fits this model"):
        load_weights(model(), saved(tmp_path, "safetensors", {"x": torch.ones(1)}))
    assert load_weights(model(), "") is None


class Evil:
    def __reduce__(self):
        return (open, ("evil", "w"))


@pytest.mark.parametrize("kind", ["pkl", "pth", "pyth"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    content = {"model": {"0.weight": np.ones((3, 2), dtype=np.float32)}, "__author__": "x", "x": Evil()}
    path = tmp_path / f"evil.{kind}"
    path.write_bytes(pickle.dumps(content)) if kind == "pkl" else torch.save(content, path)
    with pytest.raises(RunError, match=r"is a pickle of more than arrays .*model\.allow_pickle=true"):
        load_weights(model(), str(path))
    assert not (tmp_path / "evil").exists()
    if kind == "pkl":
        assert load_weights(model(), str(path), allow_pickle=True).loaded == 1
        assert (tmp_path / "evil").exists()


def test_a_checkpoint_of_detectron2_gives_its_own_ap_and_trains_on(compose, micro, tmp_path):
    config = validate_config(compose(*micro))
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    detector = build_detector(config, dataset)
    torch.manual_seed(5)
    theirs = detector.build()
    DetectionCheckpointer(theirs, str(tmp_path)).save("theirs")
    path = tmp_path / "theirs.pth"
    name = register(dataset.split("test"))
    loader = evaluation_loader(detector.mapper(name, augmented=False, annotated=False), name, batch_size=1)
    expected = inference_on_dataset(
        theirs.eval(), loader, COCOEvaluator(name, ("bbox", "segm"), False, use_fast_impl=False)
    )
    # A rate too small to move a weight: what is measured is what was loaded.
    still = ["schedule.lr=1e-30", "schedule.iterations=1", "noise.sigma=0", f"sweep.root={tmp_path}"]
    frozen = ["+model.overrides.SOLVER.WEIGHT_DECAY=0.0", "+model.overrides.SOLVER.MOMENTUM=0.0"]
    composed = compose(*micro, f"model.weights={path}", *still, *frozen)
    record = execute(composed)
    for task in ("bbox", "segm"):
        for key, value in expected[task].items():
            assert record.metrics[f"{task}/{key}"] == (None if np.isnan(value) else value)
    training = SweepPaths(tmp_path / validate_config(composed).sweep_name).training(record.training_id)
    report = read_record(training.record, TrainingRecord).weights
    assert report.loaded == len(theirs.state_dict())
    assert not report.missing


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/own.pth", "nowhere://own.pth"])
def test_an_address_that_cannot_be_fetched_is_named_with_what_to_do(address):
    with pytest.raises(RunError, match=f"{address} cannot be fetched: .*give its path"):
        load_weights(torch.nn.Linear(1, 1), address)
