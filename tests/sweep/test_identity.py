"""What decides a result decides its ids, and nothing else does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablation import noise
from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.sweep.identity import identify

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ids(compose, micro):
    return lambda *overrides: _identify(compose(*micro, *overrides))


def _identify(composed):
    config = validate_config(composed)
    return identify(config, build_dataset(config.dataset))


def _of_type(name):
    """Overrides for a noise type at a strength that is not zero."""
    measured = noise.load(name).realised_only
    return [f"noise={name}"] + ([] if measured else ["noise.sigma=0.1"])


@pytest.mark.parametrize("name", noise.available())
def test_sigma_zero_of_every_type_is_the_baseline(ids, name):
    needs_batch = noise.load(name).needs_batch
    when = "train" if needs_batch else "always"
    assert ids(f"noise={name}", "noise.sigma=0", f"noise.when={when}") == ids("noise=none")


@pytest.mark.parametrize("name", [n for n in noise.available() if not noise.load(n).needs_batch])
def test_noise_in_evaluation_alone_trains_nothing_new(ids, name):
    baseline, one = ids("noise=none"), ids(*_of_type(name), "noise.when=eval")
    assert one.training_id == baseline.training_id
    assert one.run_id != baseline.run_id


@pytest.mark.parametrize("name", [n for n in noise.available() if not noise.load(n).needs_batch])
def test_noise_always_shares_the_training_with_noise_in_training(ids, name):
    train, always = (ids(*_of_type(name), f"noise.when={when}") for when in ("train", "always"))
    assert train.training_id == always.training_id != ids("noise=none").training_id
    assert train.run_id != always.run_id


def test_noise_types_do_not_share_a_training(ids):
    trainings = [ids(*_of_type(name)).training_id for name in noise.available()]
    assert len(set(trainings)) == len(trainings)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "schedule.iterations=7",
        "schedule.batch_size=1",
        "schedule.lr=0.1",
        "dataset.seed=1",
        "dataset.train_size=9",
        "dataset.image_size=96",
        "+model.overrides.MODEL.MASK_ON=false",
        "model.weights=detectron2://other.pkl",
        "noise.sigma=0.2",
        "noise.levels=[p2]",
        "noise.scale=absolute",
        "noise.granularity=channel",
        "noise.shared=true",
        "noise.destination=rpn",
        "noise.probability=0.5",
        "noise.schedule.start=3",
        "noise.schedule.shape=linear",
        "noise=speckle",
    ],
)
def test_what_decides_a_training_changes_both_ids(ids, override):
    before, after = ids(), ids(override)
    assert before.training_id != after.training_id
    assert before.run_id != after.run_id


@pytest.mark.parametrize(
    "override",
    [
        "sweep.name=other",
        "sweep.root=elsewhere",
        "sweep.dry_run=true",
        "sweep.device=cpu",
        "sweep.threads=2",
        "sweep.data_workers=2",
        "sweep.checkpoint_period=7",
        "sweep.log_period=7",
        "evaluation.batch_size=1",
        "evaluation.primary_metric=bbox/AP",
        "evaluation.pictures=0",
        "evaluation.severities=[1]",
        "model.name=other",
        "dataset.name=other",
        "dataset.folder=elsewhere",
        "noise.sigma=1e-1",
    ],
)
def test_what_decides_no_result_changes_no_id(ids, override):
    assert ids() == ids(override)


def test_another_test_set_is_another_run_of_the_same_training(ids):
    before, after = ids(), ids("dataset.test_size=5")
    assert before.training_id == after.training_id
    assert before.run_id != after.run_id


def test_corruptions_decide_the_run_and_not_the_training(ids):
    before, after = ids(), ids("evaluation.corruptions=[fog,snow]")
    assert before.training_id == after.training_id
    assert before.run_id != after.run_id
    assert after == ids("evaluation.corruptions=[snow,fog]", "evaluation.severities=[5,4,3,2,1]")
    assert after.run_id != ids("evaluation.corruptions=[fog,snow]", "evaluation.severities=[1]").run_id


def test_the_order_of_levels_means_nothing(ids):
    assert ids("noise.levels=[p2,p3]") == ids("noise.levels=[p3,p2]")


def test_annotations_decide_the_ids_and_their_place_does_not(compose, micro, coco_folder):
    plain = [override for override in micro if not override.startswith("dataset.")]

    def of(folder):
        data = [f"dataset.{split}_json={folder / split}.json" for split in ("train", "test")]
        data += [f"dataset.{split}_images={folder / 'images'}" for split in ("train", "test")]
        return _identify(compose(*plain, "dataset=coco_json", *data))

    one, two = of(coco_folder("one")), of(coco_folder("two"))
    other = of(coco_folder("other", edit=lambda data: data["annotations"].pop()))
    assert one == two
    assert one.training_id != other.training_id


def test_ids_read_like_their_configuration(ids):
    one = ids("noise=uniform", "noise.params.half_width=0.2", "noise.levels=[p3,p2]", "noise.when=always", "seed=4")
    assert one.training_id.startswith("uniform-half_width0.2-p2p3-s4-")
    assert one.run_id.startswith("uniform-half_width0.2-p2p3-s4-always-")
    assert ids("noise=none").training_id.startswith("baseline-s0-")


def test_the_ids_are_the_same_in_every_process(ids, compose, micro):
    overrides = [*micro, "noise.levels=[p5,p2,p3]", "noise.when=always", "+model.overrides={B: 1, A: {D: 2, C: 3}}"]
    code = (
        "import json, sys; from ablation.config.schemas import validate_config\n"
        "from ablation.data.build import build_dataset; from ablation.sweep.identity import identify\n"
        "config = validate_config(json.loads(sys.argv[1])); ids = identify(config, build_dataset(config.dataset))\n"
        "print(ids.training_id, ids.run_id)"
    )
    composed = json.dumps(compose(*overrides))
    printed = {
        subprocess.run(
            [sys.executable, "-c", code, composed],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = _identify(compose(*overrides))
    assert printed == {f"{here.training_id} {here.run_id}\n"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["noise=uniform", "noise.params.half_width=1"], ["noise=uniform", "noise.params.half_width=1.0"]),
        (["noise=dropblock", "noise.params.block_size=5"], ["noise=dropblock", "noise.params.block_size=5.0"]),
        (["noise.sigma=1"], ["noise.sigma=1.0"]),
    ],
)
def test_equal_numbers_are_one_training(ids, one, other):
    strength = ["noise.sigma=0.1"] if one[0] == "noise=dropblock" else []
    assert ids(*one, *strength) == ids(*other, *strength)


def test_a_class_named_twice_is_named_once(compose, coco_folder):
    folder = coco_folder()
    files = [f"dataset.{split}_json={folder}/{split}.json" for split in ("train", "test")]
    files += [f"dataset.{split}_images={folder}/images" for split in ("train", "test")]
    one, twice = (compose("dataset=coco_json", *files, f"dataset.classes={c}") for c in ("[box]", "[box,box]"))
    assert _identify(one) == _identify(twice)
