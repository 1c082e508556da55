"""Checkpoints: layers that fit are reported, code is not run, and detectron2's own give detectron2's own AP."""

import io
import pickle
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.layers import FrozenBatchNorm2d
from safetensors.torch import save_file
from torch import nn

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import evaluation_loader, register
from ablation.execute import execute
from ablation.models.build import build_detector
from ablation.models.weights import load_own_weights, load_weights, save_weights
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


@pytest.mark.parametrize("given", [{"x": torch.ones(1)}, {"0.weight": torch.ones(9, 9), "x": torch.ones(1)}])
def test_a_checkpoint_that_fits_nothing_is_an_error_with_names_of_both_sides(tmp_path, given):
    with pytest.raises(RunError, match=r"fits nothing: 0 of the 4 parameters .* It has .*x; the model has 0\.weight"):
        load_weights(model(), saved(tmp_path, "safetensors", given))
    assert load_weights(model(), "") is None


def test_statistics_that_a_frozen_batch_norm_fills_in_do_not_count_as_loaded(tmp_path):
    frozen = nn.Sequential(nn.Conv2d(3, 4, 1), *(FrozenBatchNorm2d(4) for _ in range(20)))
    with pytest.raises(RunError, match="fits nothing: 0 of the 2 parameters"):
        load_weights(frozen, saved(tmp_path, "pth", {"x": torch.ones(1)}))
    assert load_weights(frozen, saved(tmp_path, "pth", {"0.weight": torch.ones(4, 3, 1, 1)})).loaded == 1


def test_one_parameter_of_many_is_no_fit(tmp_path):
    wide = nn.Sequential(*(nn.Linear(2, 2) for _ in range(10)))
    one, two = {"0.bias": torch.ones(2)}, {"0.bias": torch.ones(2), "1.bias": torch.ones(2)}
    with pytest.raises(RunError, match="1 of the 20 parameters of this model, and a tenth is the least"):
        load_weights(wide, saved(tmp_path, "pth", one))
    assert load_weights(wide, saved(tmp_path, "pth", two)).loaded == 2


WEIGHTS = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}
PARALLEL = {f"module.{name}": value for name, value in WEIGHTS.items()}
WRAPPED = {
    "bare": WEIGHTS,
    "state_dict": {"state_dict": WEIGHTS, "epoch": 3},
    "model_state": {"model_state": WEIGHTS, "optimizer_state": {"state": {}}},
    "twice": {"model": {"state_dict": WEIGHTS}},
    "of DataParallel": {"state_dict": PARALLEL},
    "of DataParallel, bare": PARALLEL,
    "with other values": WEIGHTS | {"step": 3},
}


@pytest.mark.parametrize("kind", ["pth", "pkl"])
@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
def test_a_state_dict_is_found_wherever_other_tools_put_it(tmp_path, content, kind):
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(as_arrays(content)))
    ours = model()
    assert load_weights(ours, str(path)).loaded == 2
    assert torch.equal(ours[0].weight, WEIGHTS["0.weight"])


def as_arrays(content):
    if isinstance(content, dict):
        return {key: as_arrays(value) for key, value in content.items()}
    return content.numpy() if isinstance(content, torch.Tensor) else content


def torch_bytes(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


OLD = {"_use_new_zipfile_serialization": False}
DAMAGED = {
    "empty.pth": (b"", "is empty"),
    "empty.pkl": (b"", "is empty"),
    "page.pth": (b"<!DOCTYPE html><html>", "is an HTML or XML page"),
    "notes.pth": (b"hello world\n", "is text"),
    "lfs.pkl": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    "short.pth": (torch_bytes(WEIGHTS)[:-9], r"is damaged \(its end is missing\)"),
    "short-old.pth": (torch_bytes(WEIGHTS, **OLD)[:-9], "is damaged"),
    "shorter-old.pth": (torch_bytes(WEIGHTS, **OLD)[:90], "is damaged"),
    "short.pkl": (pickle.dumps(as_arrays(WEIGHTS))[:-9], "is damaged"),
    "list.pth": (torch_bytes([1, 2]), "is no checkpoint but a list"),
    "list.pkl": (pickle.dumps([1, 2]), "is damaged|is no checkpoint"),
    "number.pkl": (pickle.dumps(3), "is damaged|is no checkpoint"),
    "none.pth": (torch_bytes({}), "is without arrays: it has no keys"),
    "other.pth": (
        torch_bytes({"net": WEIGHTS}),
        "is without arrays: its keys are net, and arrays are looked for there or",
    ),
    "random.pth": (bytes(range(128, 256)) * 9, "is damaged"),
    "random.safetensors": (bytes(range(128, 256)) * 9, "is damaged"),
}


@pytest.mark.filterwarnings("ignore")  # torch warns about what it reads
@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_no_whole_checkpoint_is_named_with_what_it_is(tmp_path, name, allow_pickle):
    content, what = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=f"{name} .*Give a whole .pth, .pkl or .safetensors file") as refused:
        load_weights(model(), str(tmp_path / name), allow_pickle=allow_pickle)
    assert re.search(what, str(refused.value))
    assert "allow_pickle" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_an_address_that_cannot_be_reached_is_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("iopath.common.file_io.download", unreachable)
    with pytest.raises(
        RunError, match=r"https://nowhere.invalid/w.pth cannot be fetched: .*no route.* Check the address"
    ):
        load_weights(model(), "https://nowhere.invalid/w.pth")


def test_weights_that_a_training_saved_must_be_those_of_the_model(tmp_path):
    save_weights(model(), tmp_path / "whole.safetensors")
    load_own_weights(model(), tmp_path / "whole.safetensors")
    for state in (WEIGHTS, {**model().state_dict(), "x": torch.ones(1)}):
        with pytest.raises(RunError, match=r"is not what the training of this model saved\. Remove it"):
            load_own_weights(model(), Path(saved(tmp_path, "safetensors", state)))


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
