"""What a user's module registers in detectron2's catalog becomes a data set like any other."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.execute import execute
from ablation.processes.server import preload
from ablation.records.errors import DataError

MODULE = Path(__file__).parents[1] / "assets" / "registering.py"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a user's modules and images; what it holds can be changed by calling it."""

    edits = itertools.count()

    def hold(images=4, left=4):
        # Of another length each time: Python tells sources of one second apart by their size alone.
        text = f"FOLDER = 'png'\nIMAGES = {images}\nLEFT = {left}\n#{'#' * next(edits)}\n"
        (tmp_path / "my_images.py").write_text(text)

    preload(["ablation.preload"])  # as the pool launcher does; the server then starts a worker in no time
    (tmp_path / "png").mkdir()
    for number in range(1, 5):
        Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "png" / f"{number}.png")
    shutil.copy(MODULE, tmp_path / "registering.py")
    monkeypatch.chdir(tmp_path)
    hold()
    return hold


def _compose_registered(compose, *overrides):
    keys = ["dataset=registered", "dataset.imports=[registering]", "dataset.train_name=mine", "sweep.root=sweeps"]
    return compose(*keys, *(overrides or ["dataset.test_share=0.5"]))


@pytest.fixture
def dataset(compose, here):
    return lambda *overrides: build_dataset(validate_config(_compose_registered(compose, *overrides)).dataset)


def test_the_registered_entries_are_stored_as_coco(dataset):
    made = dataset()
    survey = made.survey()
    assert survey.summary == (
        "2 images with 3 objects to train on and 2 images with 3 objects to test on; 2 classes (none, square), masks, "
        "images of 64 pixels"
    )
    assert survey.remarks[0] == "1 of 2 classes have no object to train on: none."
    data = json.loads(made.source("train").annotations.read_text())
    assert [image["file_name"] for image in data["images"]] == [f"png/{number}.png" for number in range(1, 5)]
    first, second = data["annotations"][:2]
    assert first["bbox"] == [4, 8, 24, 24] and first["category_id"] == 1
    assert first["segmentation"] == [[4, 8, 28, 8, 28, 32, 4, 32]]
    assert first["keypoints"] == [6, 10, 2, -0.5, -0.5, 0] and first["num_keypoints"] == 1
    assert second["segmentation"]["size"] == [64, 64] and isinstance(second["segmentation"]["counts"], str)
    assert second["area"] == 24 * 24
    contents = made.source("train").summary
    assert (contents.keypoints, contents.flips) == (("left", "right"), (("left", "right"),))


def test_planning_imports_nothing_of_the_user_here(dataset):
    dataset().survey()
    assert not {"registering", "my_images"} & set(sys.modules)


def test_what_is_registered_decides_the_fingerprint_and_is_asked_for_by_each_command(dataset, here):
    made = dataset()
    made.survey()
    before, written = made.fingerprint("train"), made.source("train").annotations.stat().st_mtime_ns
    here()
    made = dataset()  # as another command does
    made.survey()
    assert made.fingerprint("train") == before
    assert made.source("train").annotations.stat().st_mtime_ns == written
    here(left=6)
    made = dataset()
    made.survey()
    assert made.fingerprint("train") != before


def test_a_run_of_its_own_makes_what_no_plan_has_made(dataset):
    made = dataset()
    made.prepare()
    train, test = (made.split(split).summary for split in ("train", "test"))
    assert not set(train.entries) & set(test.entries)


def test_a_registered_set_is_trained_and_tested_on(compose, micro, here):
    model = [override for override in micro if not override.startswith(("dataset.", "sweep."))]
    keys = ["dataset.test_share=0.5", "noise.sigma=0.5", "schedule.iterations=2"]
    record = execute(_compose_registered(compose, *model, *keys))
    assert {"bbox/AP", "segm/AP"} <= set(record.metrics)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["dataset.train_name=mien", "dataset.test_share=0.5"],
            "dataset.train_name: 'mien' is not registered by registering. Did you mean mine?",
        ),
        (
            ["dataset.test_name=coco_2017_vla", "dataset.imports=[]", "dataset.train_name=coco_2017_val"],
            "dataset.train_name: what is registered as 'coco_2017_val' is not in detectron2's standard format: "
            "FileNotFoundError: [Errno 2] No such file or directory: 'datasets/coco/",
        ),
        (
            ["dataset.imports=[]", "dataset.test_share=0.5"],
            "dataset.train_name: 'mine' is not registered by detectron2 itself, and dataset.imports is empty.",
        ),
        (
            ["dataset.imports=[nothing_here]", "dataset.test_share=0.5"],
            "dataset.imports: 'nothing_here' cannot be imported: ModuleNotFoundError: No module named 'nothing_here'. "
            "Give modules that are installed or lie in ",
        ),
        (
            ["dataset.train_name=nameless", "dataset.test_share=0.5"],
            "dataset.train_name: what is registered as 'nameless' is not in detectron2's standard format: "
            "AttributeError: Attribute 'thing_classes' does not exist in the metadata of dataset 'nameless'",
        ),
        (
            ["dataset.test_name=sizeless"],
            "dataset.test_name: what is registered as 'sizeless' is not in detectron2's standard format: KeyError: "
            "'width'. Each image needs file_name, height and width, each annotation bbox, bbox_mode and category_id, "
            "and the metadata thing_classes.",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_key(dataset, overrides, message):
    with pytest.raises(DataError) as refused:
        dataset(*overrides).survey()
    assert str(refused.value).startswith(message)
    assert len(str(refused.value).splitlines()) == 1


def test_a_module_that_ends_the_process_is_a_message(dataset, tmp_path):
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(DataError, match=r"^What dataset\.imports=\['leaving'\] registers cannot be exported to "):
        dataset("dataset.imports=[leaving]", "dataset.test_share=0.5").survey()
