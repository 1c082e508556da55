"""Semantic labels beside COCO files: checked, part of the identity, learnt from and measured by detectron2's rules."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from PIL import Image

from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import register
from ablation.data.splits import Split
from ablation.evaluation.detectron2_metrics import read_metrics, semantic_evaluator
from ablation.execute import execute
from ablation.models.build import build_detector
from ablation.models.detector import SemanticHead
from ablation.records.errors import ConfigError, DataError
from ablation.records.paths import SweepPaths
from ablation.records.schema import Status
from ablation.sweep.identity import identify

PANOPTIC = [
    "model=panoptic_fpn_r50",
    "model.weights=''",
    *(
        f"+model.overrides.{key}={value}"
        for key, value in {
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 3,
            "MODEL.SEM_SEG_HEAD.CONVS_DIM": 8,
            "MODEL.SEM_SEG_HEAD.NORM": "''",
            "MODEL.RESNETS.NORM": "LN",
            "MODEL.BACKBONE.FREEZE_AT": 0,
            "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
            "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
            "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
            "MODEL.FPN.OUT_CHANNELS": 8,
            "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
            "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
            "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
            "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
            "MODEL.RPN.POST_NMS_TOPK_TRAIN": 20,
            "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
            "INPUT.MIN_SIZE_TRAIN": "[64]",
            "INPUT.MIN_SIZE_TEST": 64,
        }.items()
    ),
    "schedule.iterations=6",
    "schedule.batch_size=2",
    "sweep.log_period=1",
]


@pytest.fixture
def labelled(coco_folder):
    """A folder of two images with labels: things 0, the upper half stuff 1, the lower 2, a stripe unlabelled."""

    def make(name="coco", edit=None):
        folder = coco_folder(name, edit=edit)
        labels = np.full((64, 64), 1, np.uint8)
        labels[32:], labels[8:40, 8:40], labels[:4] = 2, 0, 255
        (folder / "labels").mkdir()
        for number in (1, 2):
            Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
        return folder

    return make


@pytest.fixture
def panoptic(compose, tmp_path):
    """The configuration of a labelled folder, or of one without its labels."""

    def of(folder, *more, sem_seg=True):
        data = [f"dataset.{s}_{what}={folder}/{f}" for s in ("train", "test") for what, f in _files(s, sem_seg)]
        return compose("dataset=coco_json", *data, *PANOPTIC, f"sweep.root={tmp_path}/sweeps", "noise.sigma=0", *more)

    return of


def _files(split, sem_seg):
    files = [("json", f"{split}.json"), ("images", "images")]
    return files + ([("sem_seg", "labels")] if sem_seg else [])


def _split(folder):
    return Split(folder / "train.json", folder / "images", folder / "labels")


def test_a_panoptic_model_learns_stuff_and_is_measured_on_things_and_stuff(panoptic, labelled, tmp_path):
    record = execute(
        panoptic(labelled(), "evaluation.primary_metric=sem_seg/mIoU", "evaluation.loss_period=2", "noise.sigma=0.5")
    )
    assert record.status is Status.COMPLETED
    assert {"bbox/AP", "segm/AP", "sem_seg/mIoU", "sem_seg/pACC"} <= set(record.metrics)
    assert 0 <= record.metrics["sem_seg/mIoU"] <= 100
    folder = SweepPaths(tmp_path / "sweeps" / "panoptic_fpn_r50-coco_json").training(record.training_id)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert all(line["loss_sem_seg"] > 0 for line in lines)
    assert lines[-1]["validation/loss_sem_seg"] > 0


def test_a_lazy_panoptic_config_is_the_same_kind_of_model(panoptic, labelled):
    composed = panoptic(labelled())
    overrides = {"model.sem_seg_head.num_classes": 3, "model.backbone.out_channels": 8}
    composed["model"] |= {"config": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.py", "overrides": overrides}
    config = validate_config(composed)
    detector = build_detector(config, build_dataset(config.dataset))
    assert (detector.semantic.classes, detector.semantic.ignore_value, detector.semantic.needs_masks) == (3, 255, True)


def test_the_score_of_labels_is_counted_by_hand(labelled):
    split = _split(labelled())
    evaluator = semantic_evaluator(split, SemanticHead(3, 255, True))
    for entry in DatasetCatalog.get(register(split)):
        output = np.zeros((3, 64, 64), np.float32)
        output[1] = 1  # all of it is said to be stuff 1
        evaluator.process([entry], [{"sem_seg": torch.from_numpy(output)}])
    truth = np.asarray(Image.open(split.sem_seg / "1.png"))
    iou = (truth == 1).sum() / (truth != 255).sum()
    assert read_metrics(evaluator, "sem_seg")["sem_seg/mIoU"] == pytest.approx(100 * iou / 3)
    assert read_metrics(evaluator, "sem_seg")["sem_seg/pACC"] == pytest.approx(100 * iou)


def test_every_image_is_given_its_own_labels(labelled):
    split = _split(labelled())
    entries = DatasetCatalog.get(register(split))
    assert [entry["sem_seg_file_name"] for entry in entries] == [str(split.sem_seg / f"{i}.png") for i in (1, 2)]
    assert register(split) != register(Split(split.annotations, split.images))


def _identify(composed):
    config = validate_config(composed)
    return identify(config, build_dataset(config.dataset))


def test_labels_are_a_part_of_the_identity_only_where_they_are_configured(panoptic, labelled):
    folder, moved = labelled(), labelled("moved")
    with_labels, without, elsewhere = (
        _identify(composed) for composed in (panoptic(folder), panoptic(folder, sem_seg=False), panoptic(moved))
    )
    assert with_labels == elsewhere
    assert with_labels.training_id != without.training_id
    dataset = build_dataset(validate_config(panoptic(folder, sem_seg=False)).dataset)
    assert dataset.fingerprint("train") == dataset.split("train").summary.fingerprint
    with (folder / "labels" / "1.png").open("ab") as file:
        file.write(b"more")
    assert _identify(panoptic(folder)).training_id != with_labels.training_id


def test_a_chosen_part_keeps_its_labels(panoptic, labelled):
    folder = labelled()
    dataset = build_dataset(validate_config(panoptic(folder, "dataset.train_size=1", "dataset.classes=[box]")).dataset)
    dataset.prepare()
    split = dataset.split("train")
    assert split.sem_seg == folder / "labels"
    assert len(DatasetCatalog.get(register(split))) == 1
    assert split.label_scan.values == (0, 1, 2, 255)


def test_coco_as_it_is_unpacked_has_its_labels_beside_the_images(compose):
    def found(sem_seg):
        config = validate_config(compose("dataset=coco", "dataset.root=/c", f"dataset.sem_seg={sem_seg}"))
        return [build_dataset(config.dataset).source(split).sem_seg for split in ("train", "test")]

    assert found("false") == [None, None]
    assert found("true") == [Path("/c/panoptic_stuff_train2017"), Path("/c/panoptic_stuff_val2017")]


def _save(mode, size=(64, 64)):
    return lambda folder: Image.new(mode, size).save(folder / "labels" / "2.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "labels" / "2.png").unlink(), r"1 of 2 images of .*train\.json have no semantic"),
        (lambda folder: shutil.rmtree(folder / "labels"), "2 of 2 images of .* have no semantic labels in .*labels"),
        (lambda folder: (folder / "labels" / "2.png").write_text("x"), r"labels of '2\.png': it is no image"),
        (_save("L", (64, 32)), r"labels of '2\.png': they are 64 x 32 pixels, not 64 x 64"),
        (_save("RGB"), "mode RGB, not L"),
        (_save("P"), "mode P, not L"),
        (_save("I;16"), "mode I;16, not L"),
    ],
    ids=["missing", "no folder", "no image", "size", "colours", "palette", "16 bits"],
)
def test_labels_that_cannot_be_used_are_refused_before_anything_is_planned(panoptic, labelled, damage, message):
    folder = labelled()
    damage(folder)
    with pytest.raises(DataError, match=message):
        build_dataset(validate_config(panoptic(folder)).dataset).survey()


def test_the_survey_counts_labels(panoptic, labelled):
    assert (
        "masks and semantic labels of 4 values"
        in build_dataset(validate_config(panoptic(labelled())).dataset).survey().summary
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["dataset.test_sem_seg=null"],
            r"test_sem_seg must be given with dataset\.train_sem_seg=.*, got null",
        ),
        (["dataset.train_sem_seg=null"], r"test_sem_seg must be null with dataset\.train_sem_seg=null"),
        (
            ["dataset.test_share=0.5", "dataset.test_json=null", "dataset.test_images=null"],
            r"test_sem_seg must be null with .*test_share=0\.5, got ",
        ),
    ],
)
def test_both_splits_have_labels_or_none_has(panoptic, labelled, overrides, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(panoptic(labelled(), *overrides))


def _refusal(config):
    with pytest.raises(ConfigError) as refused:
        build_detector(config, build_dataset(config.dataset))
    return str(refused.value)


def test_a_panoptic_model_without_what_it_learns_from_is_refused(panoptic, labelled):
    folder = labelled()
    assert "learns semantic labels, and coco_json has none" in _refusal(
        validate_config(panoptic(folder, sem_seg=False))
    )
    boxes = labelled("boxes", edit=lambda data: data["annotations"][0].update(segmentation=[]))
    assert "has objects without a mask" in _refusal(validate_config(panoptic(boxes)))


def test_labels_beyond_the_classes_of_the_model_are_refused(panoptic, labelled):
    text = _refusal(validate_config(panoptic(labelled(), "model.overrides.MODEL.SEM_SEG_HEAD.NUM_CLASSES=2")))
    assert "labels 2 classes, 0 to 1 (and 255 for none)" in text
    assert "holds 2. Set +model.overrides.MODEL.SEM_SEG_HEAD.NUM_CLASSES=3" in text


def test_a_model_without_a_head_for_stuff_takes_no_notice_of_labels(panoptic, labelled):
    config = validate_config(panoptic(labelled(), "model.config=COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"))
    assert build_detector(config, build_dataset(config.dataset)).semantic is None
