"""Corrupted images are the package's own, and depend on the image, the corruption and the severity alone."""

import json
from importlib import metadata

import imagecorruptions
import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import read_image
from PIL import Image

from ablation.config.evaluation import CORRUPTIONS
from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.loaders import evaluation_loader, register
from ablation.evaluation.corruptions import CorruptedMapper, _seed, check_corruptions, corrupt
from ablation.evaluation.evaluate import evaluate
from ablation.evaluation.robustness import robustness
from ablation.models.build import build_detector
from ablation.models.weights import load_weights
from ablation.records.errors import ConfigError, DataError

PHOTO = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
ASKED = ["evaluation.corruptions=[gaussian_noise,fog]", "evaluation.severities=[1,5]"]


def test_the_names_are_the_packages():
    assert list(CORRUPTIONS) == imagecorruptions.get_corruption_names()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_severity_is_what_the_packages_function_gives(name):
    function = imagecorruptions.corruption_dict[name]
    own = name in ("impulse_noise", "glass_blur")  # these two take a seed
    for severity in range(1, 6):
        seed = _seed(7, name, severity)
        np.random.seed(seed)
        expected = np.uint8(function(Image.fromarray(PHOTO), severity, **({"seed": seed} if own else {})))
        assert np.array_equal(corrupt(PHOTO, name, severity, 7), expected)
        assert not np.array_equal(expected, PHOTO)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_repeats_and_leaves_the_global_generator_alone(name):
    np.random.seed(3)
    first = corrupt(PHOTO, name, 3, 7)
    drawn = np.random.random()
    assert np.array_equal(first, corrupt(PHOTO, name, 3, 7))
    np.random.seed(3)
    assert np.random.random() == drawn


def test_images_are_corrupted_differently():
    assert not np.array_equal(corrupt(PHOTO, "gaussian_noise", 3, 7), corrupt(PHOTO, "gaussian_noise", 3, 8))


@pytest.mark.parametrize("colours", ["BGR", "RGB"])
def test_a_model_sees_the_mapper_applied_to_the_packages_own_image(compose, micro, tmp_path, colours):
    config = validate_config(compose(*micro, f"+model.overrides.INPUT.FORMAT={colours}"))
    detector = build_detector(config, dataset := _prepared(config))
    mapper = detector.mapper(register(dataset.split("train")), augmented=False, annotated=False)
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    entry = {"file_name": str(tmp_path / "photo.png"), "image_id": 7, "height": 64, "width": 48}
    seen = CorruptedMapper(mapper, "brightness", 4)(entry)
    Image.fromarray(imagecorruptions.corrupt(PHOTO, 4, "brightness")).save(tmp_path / "theirs.png")
    theirs = mapper(entry | {"file_name": str(tmp_path / "theirs.png")})
    assert torch.equal(seen["image"], theirs["image"])
    assert seen | {"image": 0} == theirs | {"image": 0, "file_name": entry["file_name"]}


def _prepared(config):
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    return dataset


def test_images_do_not_depend_on_batch_order_or_workers(compose, micro):
    config = validate_config(compose(*micro))
    detector = build_detector(config, dataset := _prepared(config))
    name = register(dataset.split("test"))
    mapper = CorruptedMapper(detector.mapper(name, augmented=False, annotated=False), "glass_blur", 2)

    def images(batch_size, workers):
        loader = evaluation_loader(mapper, name, batch_size, workers)
        return {one["image_id"]: one["image"] for batch in loader for one in batch}

    alone, together = images(1, 0), images(3, 2)
    assert len(alone) == 4
    assert all(torch.equal(alone[key], together[key]) for key in alone)


def test_scores_are_those_of_an_evaluation_on_the_corrupted_files(compose, tmp_path):
    common = ["noise.sigma=0", f"dataset.folder={tmp_path}/made"]
    config = validate_config(compose(*common, "dataset.train_size=4", "dataset.test_size=12", *ASKED))
    detector = build_detector(config, dataset := _prepared(config))
    torch.manual_seed(0)
    model = detector.build()
    load_weights(model, detector.weights)  # finds objects, though not yet of the right class
    found = evaluate(model, config, dataset, detector)
    split = dataset.split("test")
    data = json.loads(split.annotations.read_bytes())
    for image in data["images"]:
        photo = read_image(str(split.images / image["file_name"]), "RGB")
        Image.fromarray(corrupt(photo, "fog", 1, image["id"])).save(tmp_path / image["file_name"])
    (tmp_path / "test.json").write_text(json.dumps(data))
    paths = [f"dataset.{s}_json={tmp_path}/test.json" for s in ("train", "test")]
    paths += [f"dataset.{s}_images={tmp_path}" for s in ("train", "test")]
    config = validate_config(compose("dataset=coco_json", *paths, *common))
    of_files = evaluate(model, config, build_dataset(config.dataset), detector)
    scores = {(score.corruption, score.severity): score.metrics for score in found.corruptions}
    assert list(scores) == [("gaussian_noise", 1), ("gaussian_noise", 5), ("fog", 1), ("fog", 5)]
    assert scores["fog", 1] == of_files.metrics
    assert len({score["segm/AP"] for score in scores.values()}) > 1
    clean = {key: value for key, value in found.metrics.items() if not key.endswith("PC")}
    assert found.metrics == clean | robustness(list(scores.values()), clean, ["bbox", "segm"], "PC")
    assert found.metrics["bbox/mPC"] > 0


def test_the_summary_is_the_mean_over_corruptions_and_severities():
    cells = [{"bbox/AP": ap, "segm/AP": None} for ap in (30.0, 10.0)]
    found = robustness(cells, {"bbox/AP": 40.0}, ["bbox", "segm"], "PC")
    assert found == {"bbox/mPC": 20.0, "bbox/rPC": 50.0}
    assert robustness(cells, {"bbox/AP": 0.0}, ["bbox"], "PC")["bbox/rPC"] is None
    assert robustness([], {"bbox/AP": 40.0}, ["bbox"], "PC") == {}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["evaluation.corruptions=[fogg]"], "evaluation.corruptions: 'fogg' is not a corruption. Did you mean fog?"),
        (["evaluation.corruptions=every"], "evaluation.corruptions must be 'all' or a list, got 'every'."),
        (["evaluation.corruptions=[fog,fog]"], "evaluation.corruptions must be distinct"),
        (["evaluation.severities=[0]"], "evaluation.severities.* must be .*>= 1"),
        (["evaluation.severities=[6]"], "evaluation.severities.* must be .*<= 5"),
        (["evaluation.severities=[]"], "evaluation.severities"),
        (["evaluation.pictures=-1"], "evaluation.pictures must be >= 0"),
    ],
)
def test_corruptions_that_cannot_be_are_refused(compose, micro, keys, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(compose(*micro, *keys))


def test_all_are_the_fifteen_at_every_severity(compose, micro):
    conditions = validate_config(compose(*micro, "evaluation.corruptions=all")).evaluation.conditions()
    assert len(conditions) == 75
    assert conditions[0] == ("gaussian_noise", 1)
    assert validate_config(compose(*micro)).evaluation.conditions() == []


def _check(config):
    check_corruptions(config, build_dataset(config.dataset))


def test_without_the_package_the_command_is_refused_at_once(compose, micro, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    _check(validate_config(compose(*micro)))
    with pytest.raises(ConfigError, match="needs the package imagecorruptions-imaug"):
        _check(validate_config(compose(*micro, *ASKED)))


def test_images_that_are_too_small_are_refused_at_once(compose, micro, coco_folder):
    def shrink(data):
        data["images"][1] |= {"width": 31}

    folder = coco_folder(edit=shrink)
    own = [key for key in micro if not key.startswith("dataset.")]
    paths = [f"dataset.{s}_json={folder}/{s}.json" for s in ("train", "test")]
    paths += [f"dataset.{s}_images={folder}/images" for s in ("train", "test")]
    with pytest.raises(DataError, match=r"at least 32 x 32 pixels; 1 of .*test.json are smaller, the first is '2.png'"):
        _check(validate_config(compose(*own, "dataset=coco_json", *paths, *ASKED)))
