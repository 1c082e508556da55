"""COCO as it is unpacked, and files like it, through a real training and a real evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image, ImageDraw
from pycocotools import mask
from pycocotools.coco import COCO

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import register
from ablation.execute import execute
from ablation.records.schema import Status

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 44, "name": "bottle"}, {"id": 90, "name": "brush"}]
IMAGES = 6


def _object(number, image, category, left, segmentation, **more):
    box = [left, 10, 24, 24]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": 576,
        "iscrowd": 0,
        "segmentation": segmentation,
        **more,
    }


def _annotations(with_masks, first=1):
    """Polygons, both kinds of RLE and a crowd, on all images but the last."""
    filled = np.zeros((64, 64), np.uint8, order="F")
    filled[10:34, 36:60] = 1
    compressed = mask.encode(filled)["counts"].decode()
    # Columns one after the other: 36 without, 24 with 24 pixels each, 4 without.
    runs = [36 * 64 + 10, *[24, 40] * 23, 24, 30 + 4 * 64]
    made = []
    for image in range(1, IMAGES):
        polygon = [4.0, 10.0, 28.0, 10.0, 28.0, 34.0, 4.0, 34.0]
        rle = {"size": [64, 64], "counts": compressed if image % 2 else runs}
        made.append(_object(first + len(made), image, 3, 4, [polygon]))
        made.append(_object(first + len(made), image, 44 if image % 2 else 90, 36, rle))
        if image == 2:
            crowd = {"size": [64, 64], "counts": [40 * 64, 24 * 64]}
            made.append(_object(first + len(made), image, 3, 40, crowd, iscrowd=1))
    return made if with_masks else [{k: v for k, v in a.items() if k not in ("segmentation", "area")} for a in made]


@pytest.fixture
def tree(tmp_path):
    """annotations/instances_train2017.json, train2017/ and the same for val2017."""

    def make(with_masks=True, first=1):
        rng = np.random.default_rng(0)
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True)
        for name in ("train2017", "val2017"):
            (root / name).mkdir()
            for number in range(1, IMAGES + 1):
                image = Image.fromarray(rng.integers(0, 80, (64, 64, 3), dtype=np.uint8))
                if number < IMAGES:
                    draw = ImageDraw.Draw(image)
                    draw.rectangle((4, 10, 27, 33), fill=(250, 40, 40))
                    draw.rectangle((36, 10, 59, 33), fill=(40, 250, 40) if number % 2 else (40, 40, 250))
                image.save(root / name / f"{number:012}.jpg")
            images = [{"id": n, "file_name": f"{n:012}.jpg", "width": 64, "height": 64} for n in range(1, IMAGES + 1)]
            data = {"images": images, "annotations": _annotations(with_masks, first), "categories": CATEGORIES}
            (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(data))
        return root

    return make


@pytest.fixture
def compose_coco(compose, micro, tmp_path):
    """A configuration about a tree and the micro model."""
    model = [override for override in micro if not override.startswith(("dataset.", "sweep."))]

    def of(root, *overrides):
        keys = ["dataset=coco", f"dataset.root={root}", f"sweep.root={tmp_path}/sweeps", "schedule.iterations=3"]
        return compose(*model, *keys, *overrides)

    return of


@pytest.mark.parametrize("with_masks", [True, False], ids=["masks", "boxes"])
def test_a_tree_is_trained_and_tested_on(compose_coco, tree, with_masks):
    composed = compose_coco(tree(with_masks), "noise.sigma=0.5", "noise.when=always")
    assert build_dataset(validate_config(composed).dataset).survey().remarks == ()
    record = execute(composed)
    assert record.status is Status.COMPLETED
    assert {f"bbox/AP-{c['name']}" for c in CATEGORIES} <= set(record.metrics)
    assert ("segm/AP" in record.metrics) == with_masks


def test_a_part_of_a_tree_is_trained_and_tested_on(compose_coco, tree):
    subset = ["dataset.classes=[brush,car]", "dataset.train_size=4", "dataset.test_size=5", "dataset.draw_seed=1"]
    composed = compose_coco(tree(), *subset, "noise.sigma=0.5")
    record = execute(composed)
    dataset = build_dataset(validate_config(composed).dataset)
    assert dataset.split("train").summary.images == 4
    assert [name for _, name in dataset.split("test").summary.categories] == ["car", "brush"]
    assert {"bbox/AP-car", "bbox/AP-brush"} <= set(record.metrics) and "bbox/AP-bottle" not in record.metrics


def _perfect(split, folder):
    """AP of detections that are the ground truth, through detectron2's evaluator, and the categories that it writes."""
    name = register(split)
    entries = DatasetCatalog.get(name)
    numbers = MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id
    evaluator = COCOEvaluator(name, tasks=("bbox",), distributed=False, use_fast_impl=False, output_dir=str(folder))
    evaluator.reset()
    truth = COCO(split.annotations)
    for entry in entries:
        objects = [a for a in truth.loadAnns(truth.getAnnIds(imgIds=[entry["image_id"]])) if not a["iscrowd"]]
        boxes = torch.tensor([a["bbox"] for a in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found = Instances((64, 64), pred_boxes=Boxes(boxes), scores=torch.ones(len(objects)))
        found.pred_classes = torch.tensor([numbers[a["category_id"]] for a in objects], dtype=torch.int64)
        evaluator.process([entry], [{"instances": found}])
    metrics = evaluator.evaluate()["bbox"]
    written = json.loads((folder / "coco_instances_results.json").read_text())
    return metrics["AP"], {(d["image_id"], d["category_id"]) for d in written}


@pytest.mark.parametrize("classes", ["null", "[brush]", "[bottle,car]"])
def test_detections_carry_the_category_ids_of_the_file(compose_coco, tree, tmp_path, classes):
    dataset = build_dataset(validate_config(compose_coco(tree(), f"dataset.classes={classes}")).dataset)
    dataset.prepare()
    split = dataset.split("test")
    names = set(dataset.config.classes or ("car", "bottle", "brush"))
    ids = {c["id"] for c in CATEGORIES if c["name"] in names}
    expected = {(a["image_id"], a["category_id"]) for a in _annotations(True) if a["category_id"] in ids}
    ap, written = _perfect(split, tmp_path)
    assert ap == pytest.approx(100)
    assert written == expected


def test_the_object_of_id_zero_is_found_too(compose_coco, tree, tmp_path):
    dataset = build_dataset(validate_config(compose_coco(tree(first=0))).dataset)
    dataset.prepare()
    assert _perfect(dataset.split("test"), tmp_path)[0] == pytest.approx(100)
