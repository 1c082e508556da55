"""Annotations that only some objects have: learnt from and scored where they are whole, refused before it costs."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from pycocotools import mask as masks

from ablation.config.schemas import validate_config
from ablation.data.loaders import register
from ablation.data.splits import Split
from ablation.evaluation import detectron2_metrics
from ablation.execute import execute
from ablation.models.build import build_detector
from ablation.records.errors import ConfigError
from ablation.records.paths import SweepPaths

KEYPOINTS = [
    "+model.overrides.MODEL.KEYPOINT_ON=true",
    "+model.overrides.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS=[8]",
    "+model.overrides.TEST.KEYPOINT_OKS_SIGMAS=[0.1,0.1]",
]
LOSS = ["evaluation.loss_period=2", "sweep.log_period=1"]


@pytest.fixture
def folder(coco_folder):
    return coco_folder()


@pytest.fixture
def run(compose, micro, folder, tmp_path):
    """Train the micro model on the folder."""

    def execute_with(*overrides):
        model = [override for override in micro if not override.startswith("dataset.")]
        data = [f"dataset.{split}_json={folder}/{split}.json" for split in ("train", "test")]
        data += [f"dataset.{split}_images={folder}/images" for split in ("train", "test")]
        root = f"sweep.root={tmp_path}/sweeps"
        return execute(compose(*model, "dataset=coco_json", *data, root, "noise.sigma=0", *overrides))

    return execute_with


def _edit(folder, split, change):
    path = folder / f"{split}.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _without_masks(*numbers):
    return lambda data: [data["annotations"][number].pop("segmentation") for number in numbers]


def _run_length_encoded(data):
    for annotation in data["annotations"]:
        rle = masks.merge(masks.frPyObjects(annotation["segmentation"], 64, 64))
        annotation["segmentation"] = rle | {"counts": rle["counts"].decode()}


def _with_keypoints(*but):
    def change(data):
        for category in data["categories"]:
            category["keypoints"] = ["nose", "tail"]
        for number, annotation in enumerate(data["annotations"]):
            if number not in but:
                annotation.update(keypoints=[10, 10, 2, 30, 30, 1], num_keypoints=2)

    return change


@pytest.mark.parametrize("without", [[0], [1], [0, 1, 2, 3]], ids=["first", "second", "all"])
def test_a_validation_loss_of_masks_is_refused_where_test_objects_have_none(run, folder, tmp_path, without):
    _edit(folder, "test", _without_masks(*without))
    with pytest.raises(ConfigError, match=r"loss_period needs masks of all objects in .*test\.json"):
        run(*LOSS)
    assert not any(path.read_text() for path in tmp_path.glob("sweeps/*/trainings/*/metrics.jsonl"))


def test_a_validation_loss_without_a_mask_head_asks_for_no_masks(run, folder):
    for split in ("train", "test"):
        _edit(folder, split, _without_masks(0))
    assert "bbox/AP" in run(*LOSS).metrics


def test_masks_of_some_test_objects_only_leave_the_boxes(run, folder):
    _edit(folder, "test", _without_masks(1))
    metrics = run().metrics
    assert "bbox/AP" in metrics and "segm/AP" not in metrics


def test_the_validation_loss_takes_run_lengths_where_the_training_had_polygons(run, folder, tmp_path):
    _edit(folder, "test", _run_length_encoded)
    record = run(*LOSS)
    metrics = SweepPaths(tmp_path / "sweeps" / "micro-coco_json").training(record.training_id).metrics
    assert json.loads(metrics.read_text().splitlines()[-1])["validation/loss_mask"] > 0


def test_a_lazy_config_takes_run_lengths_of_the_test_images_too(compose, micro, folder, coco_dataset):
    _edit(folder, "test", _run_length_encoded)
    dataset = coco_dataset(folder)
    test = dataset.split("test")
    config = validate_config(compose(*micro, "model.config=COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py"))
    mapper = build_detector(config, dataset).mapper(register(test), augmented=False, annotated=True)
    instances = mapper(DatasetCatalog.get(register(test))[0])["instances"]
    assert instances.gt_masks.tensor.any(dim=(1, 2)).all()


@pytest.mark.parametrize("without", [0, 1], ids=["first", "second"])
def test_keypoints_of_some_training_objects_only_are_refused(run, folder, without):
    _edit(folder, "train", _with_keypoints(without))
    _edit(folder, "test", _with_keypoints())
    with pytest.raises(ConfigError, match=r"micro predicts keypoints, and not all objects of coco_json have them"):
        run(*KEYPOINTS)


@pytest.mark.parametrize("without", [0, 1], ids=["first", "second"])
def test_keypoints_of_some_test_objects_only_leave_the_boxes(run, folder, without):
    _edit(folder, "train", _with_keypoints())
    _edit(folder, "test", _with_keypoints(without))
    metrics = run(*KEYPOINTS).metrics
    assert "bbox/AP" in metrics and not any(name.startswith("keypoints") for name in metrics)


def test_a_validation_loss_of_keypoints_is_refused_where_test_objects_have_none(run, folder):
    _edit(folder, "train", _with_keypoints())
    _edit(folder, "test", _with_keypoints(1))
    with pytest.raises(ConfigError, match=r"loss_period needs keypoints of all objects in .*test\.json"):
        run(*KEYPOINTS, *LOSS)


def _perfect(split):
    """The scores of keypoints that all are where the first image's first object has them."""
    name = register(split)
    evaluator = detectron2_metrics.keypoint_evaluator(name, (0.1, 0.1))
    for entry in DatasetCatalog.get(name):
        found = Instances((64, 64))
        found.pred_boxes, found.scores = Boxes(torch.tensor([[8.0, 8, 40, 40]] * 2)), torch.tensor([0.9, 0.8])
        found.pred_classes = torch.tensor([0, 1])
        found.pred_keypoints = torch.tensor([[[10.5, 10.5, 1], [30.5, 30.5, 1]]] * 2)
        evaluator.process([entry], [{"instances": found}])
    return detectron2_metrics.read_metrics(evaluator, "keypoints")


def test_keypoints_are_scored_without_the_fields_that_may_be_missing(folder):
    split = Split(folder / "test.json", folder / "images")

    def crowd(data):
        data["annotations"][0].update(iscrowd=1, keypoints=[0] * 6, num_keypoints=0)

    _edit(folder, "test", _with_keypoints())
    _edit(folder, "test", crowd)
    whole = _perfect(split)

    def bare(data):
        del data["annotations"][0]["keypoints"]
        for annotation in data["annotations"]:
            del annotation["num_keypoints"], annotation["area"]
        for annotation in data["annotations"][1:]:
            del annotation["iscrowd"]

    sparse = Split(folder / "sparse.json", folder / "images")
    sparse.annotations.write_text(split.annotations.read_text())
    _edit(folder, "sparse", bare)
    assert sparse.summary.has_keypoints
    assert whole["keypoints/AP"] == pytest.approx(100)
    assert _perfect(sparse) == whole
