"""Where names of models lead, and what of a model counts for its identity."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ablation.config.model import ModelConfig
from ablation.models import locate
from ablation.models.locate import config_file, model_fingerprint, weights_file
from ablation.records.errors import ConfigError

ZOO_NAME = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"


def _fingerprint(config, weights="", **overrides):
    return model_fingerprint(
        ModelConfig(
            name="m", config=str(config), weights=str(weights), allow_pickle=False, imports=[], overrides=overrides
        )
    )


def _refusal(config, weights=""):
    with pytest.raises(ConfigError) as refused:
        _fingerprint(config, weights)
    return str(refused.value)


def test_a_zoo_name_leads_to_detectron2s_file():
    assert config_file(ZOO_NAME).as_posix().endswith(f"detectron2/model_zoo/configs/{ZOO_NAME}")


def test_a_path_leads_to_itself_also_relative_and_below_home(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("VERSION: 2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_file("a.yaml") == config_file("~/a.yaml") == config_file(str(tmp_path / "a.yaml"))


def test_a_file_shipped_with_the_package_has_the_prefix(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "_OWN_FOLDER", tmp_path)
    (tmp_path / "own.yaml").write_text("VERSION: 2")
    assert config_file("ablation://own.yaml") == tmp_path / "own.yaml"
    with pytest.raises(ConfigError, match=r"^model\.config must be a file that exists, got .*/none\.yaml"):
        config_file("ablation://none.yaml")


@pytest.mark.parametrize("address", ["", "detectron2://a/b.pkl", "https://example.org/w.pth"])
def test_no_weights_and_addresses_have_no_local_file(address):
    assert weights_file(address) is None


def test_a_misspelt_zoo_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError) as refused:
        config_file(ZOO_NAME.replace("FPN_1x", "FPN_1"))
    assert str(refused.value) == (
        "model.config must be a YAML or .py file that exists or a name of detectron2's model zoo, got "
        f"'{ZOO_NAME.replace('FPN_1x', 'FPN_1')}'. Did you mean {ZOO_NAME}?"
    )


@pytest.mark.parametrize("name", ["", "zzz", "/"])
def test_a_name_near_nothing_is_refused_with_an_example(name):
    with pytest.raises(ConfigError, match=f"For example {ZOO_NAME}"):
        config_file(name)


def test_missing_weights_are_refused_with_the_path():
    with pytest.raises(ConfigError) as refused:
        weights_file("/nowhere/w.pth")
    assert str(refused.value) == "model.weights must be a file that exists, got /nowhere/w.pth. Check the path."


def test_the_fingerprint_is_of_contents_not_of_places(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("_BASE_: base.yaml")
        (tmp_path / name / "base.yaml").write_text("VERSION: 2")
        (tmp_path / name / "w.pth").write_bytes(b"\x80\x02weights")
    one, other = (_fingerprint(tmp_path / n / "config.yaml", tmp_path / n / "w.pth") for n in ("a", "b"))
    assert one == other


@pytest.mark.parametrize("changed", ["config.yaml", "base.yaml", "root.yaml", "w.pth"])
def test_the_fingerprint_follows_every_file_that_decides_the_model(tmp_path, changed):
    (tmp_path / "config.yaml").write_text("_BASE_: base.yaml")
    (tmp_path / "base.yaml").write_text("_BASE_: 'root.yaml'\nVERSION: 2")
    (tmp_path / "root.yaml").write_text("VERSION: 2")
    (tmp_path / "w.pth").write_bytes(b"\x80\x02weights")
    before = _fingerprint(tmp_path / "config.yaml", tmp_path / "w.pth")
    path = tmp_path / changed
    path.write_bytes(path.read_bytes() + b" ")
    assert _fingerprint(tmp_path / "config.yaml", tmp_path / "w.pth") != before


def test_the_fingerprint_follows_overrides_and_addresses(tmp_path):
    (tmp_path / "config.yaml").write_text("VERSION: 2")
    fingerprints = [
        _fingerprint(tmp_path / "config.yaml"),
        _fingerprint(tmp_path / "config.yaml", MODEL={"MASK_ON": False}),
        _fingerprint(tmp_path / "config.yaml", "https://example.org/w.pth"),
    ]
    assert all(fingerprints.count(one) == 1 for one in fingerprints)


def test_a_list_of_bases_counts_whole(tmp_path):
    (tmp_path / "config.yaml").write_text("_BASE_: [a.yaml, b.yaml]")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(f"VERSION: 2 # {name}")
    assert len(_fingerprint(tmp_path / "config.yaml")["config"]) == 3


def test_every_file_of_the_zoo_has_a_fingerprint():
    zoo = config_file(ZOO_NAME).parents[1]
    names = sorted(path.relative_to(zoo).as_posix() for path in zoo.rglob("*.yaml"))
    assert all(_fingerprint(name)["config"] for name in names)


def test_python_tags_in_a_config_are_not_run(tmp_path):
    target = tmp_path / "made"
    (tmp_path / "config.yaml").write_text(f"A: !!python/object/apply:os.mkdir ['{target}']")
    _fingerprint(tmp_path / "config.yaml")
    assert not target.exists()


def test_a_circle_of_bases_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml")
    assert _refusal(tmp_path / "a.yaml").endswith("a.yaml is its own _BASE_. Break the circle.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A: [1, 2", "is not YAML"),
        (b"A: \xff\xff", "is not YAML"),
        (b"just words", "is no detectron2 config: expected keys and values, got str."),
        (b"", "is no detectron2 config: expected keys and values, got NoneType."),
        (b"_BASE_: none.yaml", "_BASE_ must be a file that exists, got"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert message in _refusal(path)


def test_the_same_size_at_another_time_is_read_again(tmp_path):
    path = tmp_path / "w.pth"
    (tmp_path / "a.yaml").write_text("VERSION: 2")
    path.write_bytes(b"\x80\x02one")
    before = _fingerprint(tmp_path / "a.yaml", path)
    path.write_bytes(b"\x80\x02two")
    os.utime(path, ns=(1, 1))
    assert _fingerprint(tmp_path / "a.yaml", path) != before


def test_nothing_here_imports_detectron2():
    assert "import detectron2" not in Path(locate.__file__).read_text()
