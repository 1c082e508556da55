"""Presets of one's own, in a folder given by --config-dir, hold what is their own; every other key has its default."""

import pytest
import yaml

from ablation.config.schemas import validate_config

OWN = {
    "model": "name: own\nconfig: own.yaml\nweights: ''\n",
    "dataset": "name: shapes\ntype: shapes\n",
    "noise": "type: gaussian\nsigma: 0.1\n",
    "schedule": "batch_size: null\n",
    "evaluation": "pictures: 4\n",
    "sweep": "threads: 1\n",
}
SAME = {"model": ["model.name=own", "model.config=own.yaml", "model.weights=''"]}  # elsewhere the default option


@pytest.fixture
def config(bare_command):
    """The configuration that a command line composes."""

    def composed(*arguments):
        done = bare_command("--cfg", "job", "--resolve", *arguments)
        assert (done.status, done.err) == (0, "")
        return validate_config(yaml.safe_load(done.out))

    return composed


@pytest.fixture
def own_preset(tmp_path):
    """Words that choose a preset of the user's own."""

    def chosen(group, text):
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(text)
        return "--config-dir", str(tmp_path), f"{group}=mine"

    return chosen


@pytest.mark.parametrize("group", OWN)
def test_a_preset_of_a_few_keys_has_the_defaults_of_the_others(config, own_preset, group):
    assert config(*own_preset(group, OWN[group])) == config(*SAME.get(group, []))


def test_keys_of_data_are_those_of_their_type(config, own_preset):
    text = "name: own\ntype: coco_json\ntrain_json: a.json\ntrain_images: images\ntest_share: 0.2\n"
    written = ["dataset.name=own", "dataset.train_json=a.json", "dataset.train_images=images", "dataset.test_share=0.2"]
    assert config(*own_preset("dataset", text)) == config("dataset=coco_json", *written)


def test_keys_that_a_preset_leaves_out_can_be_set(config, own_preset):
    schedule = config(*own_preset("schedule", "iterations: 7"), "schedule.lr=1").schedule
    assert (schedule.iterations, schedule.lr, schedule.devices) == (7, 1.0, 1)
