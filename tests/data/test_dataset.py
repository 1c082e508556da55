"""A kind of data is one class: whatever takes a data set takes one of any kind, and a command reads its files once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from ablation.config.base import Group
from ablation.config.schemas import validate_config
from ablation.data import splits
from ablation.data.build import KINDS, DatasetCache, build_dataset
from ablation.data.dataset import Dataset
from ablation.data.loaders import register
from ablation.data.splits import Split
from ablation.evaluation.corruptions import check_corruptions
from ablation.models.build import build_detector
from ablation.sweep.identity import identify


class SquaresConfig(Group):
    name: str
    type: Literal["squares"]
    folder: str
    images: int


class Squares(Dataset):
    """Grey images with a white square each."""

    config: SquaresConfig

    def fingerprint(self, split):
        return f"squares-{self.config.images}/{split}"

    def split(self, name):
        return self._open(Split(Path(self.config.folder) / f"{name}.json", Path(self.config.folder)))

    def prepare(self):
        numbers = range(1, self.config.images + 1)
        for number in numbers:
            image = Image.new("RGB", (64, 64), "grey")
            image.paste("white", (8, 8, 40, 40))
            image.save(Path(self.config.folder) / f"{number}.png")
        data = {
            "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 64} for n in numbers],
            "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [8, 8, 32, 32]} for n in numbers],
            "categories": [{"id": 1, "name": "square"}],
        }
        for name in splits.SPLITS:
            self.split(name).annotations.write_text(json.dumps(data))


@pytest.fixture
def squares(compose, micro, monkeypatch, tmp_path):
    """A configuration of a kind of data that the package does not have."""
    monkeypatch.setitem(KINDS, "squares", Squares)

    def of(images):
        data = SquaresConfig(name="squares", type="squares", folder=str(tmp_path), images=images)
        composed = compose(*micro, "evaluation.corruptions=[fog]")
        return validate_config(composed).model_copy(update={"dataset": data})

    return of


def test_a_new_kind_of_data_is_one_class(squares):
    config = squares(3)
    dataset = build_dataset(config.dataset)
    assert dataset.survey() is None
    check_corruptions(config, dataset)
    ids, others = (identify(c, build_dataset(c.dataset)) for c in (config, squares(4)))
    assert ids.training_id != others.training_id
    dataset.prepare()
    detector = build_detector(config, dataset)
    name = register(dataset.split("test"))
    entry = DatasetCatalog.get(name)[0]
    assert detector.mapper(name, augmented=False, annotated=True)(entry)["instances"].gt_classes.tolist() == [0]
    assert not detector.has_masks


@pytest.fixture
def reads(monkeypatch):
    """The annotation files that were read, in order."""
    paths = []

    def counted(path, folder, read=splits.read_annotations):
        paths.append(path.name)
        return read(path, folder)

    monkeypatch.setattr(splits, "read_annotations", counted)
    return paths


def test_the_data_sets_of_a_command_read_each_file_once(coco_dataset, coco_folder, reads):
    folder = coco_folder(images=6)
    configs = [coco_dataset(folder, f"dataset.train_size={n}").config for n in (2, 3, 2, 4, 2)]
    datasets = DatasetCache()
    for config in configs:
        datasets.build(config).survey()
        datasets.build(config).fingerprint("train")
    assert reads == ["train.json", "test.json"]
    assert datasets.build(configs[0]) is datasets.build(configs[2])
    assert datasets.build(configs[0]) is not datasets.build(configs[1])


def test_both_parts_of_one_file_read_it_once(compose, coco_folder, reads):
    folder = coco_folder(images=6)
    keys = [
        f"dataset.train_json={folder}/train.json",
        f"dataset.train_images={folder}/images",
        "dataset.test_share=0.5",
    ]
    build_dataset(validate_config(compose("dataset=coco_json", *keys)).dataset).survey()
    assert reads == ["train.json"]


def test_the_next_command_notices_a_file_that_changed(coco_dataset, coco_folder):
    folder = coco_folder(images=3)
    before = coco_dataset(folder).fingerprint("train")
    data = json.loads((folder / "train.json").read_text())
    data["annotations"].pop()
    (folder / "train.json").write_text(json.dumps(data))
    assert coco_dataset(folder).fingerprint("train") != before
