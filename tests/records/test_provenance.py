"""Which detectron2 is installed: every commit since 2021 calls itself 0.6."""

import json
import sys
from importlib import metadata

import pytest

from ablation.records import provenance


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make a detectron2 the installed one, and return what a record notes of it."""

    def note(source, noted=None):
        folder = tmp_path / "detectron2"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text('__version__ = "0.6"\n' + source)
        if noted is not None:
            info = tmp_path / "detectron2-0.6.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: detectron2\nVersion: 0.6\n")
            (info / "direct_url.json").write_text(json.dumps(noted))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "detectron2", raising=False)
        return dict(provenance._detectron2())

    return note


def test_the_commit_is_the_one_that_pip_noted(installed):
    noted = installed(
        "", {"url": "https://example.org/detectron2.git", "vcs_info": {"vcs": "git", "commit_id": "0a" * 20}}
    )
    assert noted == {"detectron2": "0.6", "detectron2 source": "commit 0a0a0a0a0a0a"}


def test_without_a_noted_commit_other_files_are_another_source(installed):
    first = installed("", {"url": "file:///somewhere", "dir_info": {"editable": True}})["detectron2 source"]
    assert first.startswith("files ")
    assert installed("x = 1\n")["detectron2 source"] != first
    assert installed("")["detectron2 source"] == first


def test_what_a_record_does_not_name_is_not_compared():
    assert provenance.difference({"torch": "1"}, {"torch": "2", "detectron2 source": "commit 1"}) == ["torch 1 -> 2"]
    assert metadata.version("torch") == provenance.versions()["torch"]
