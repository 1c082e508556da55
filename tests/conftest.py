"""Shared fixtures: composition by Hydra, the smallest real model, and tiny COCO folders."""

from __future__ import annotations

import copy
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Seconds after which a process of a test counts as hanging; each takes less than 2 minutes on an idle machine.
HANGS = 1800

from hydra import compose as hydra_compose  # noqa: E402
from hydra import initialize_config_dir  # noqa: E402
from hydra._internal.callbacks import Callbacks  # noqa: E402
from hydra.core.config_store import ConfigStore  # noqa: E402
from hydra.core.global_hydra import GlobalHydra  # noqa: E402
from hydra.core.plugins import Plugins  # noqa: E402
from hydra.types import HydraContext, RunMode  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from PIL import Image  # noqa: E402

from ablation import run  # noqa: E402
from ablation.config.schemas import validate_config  # noqa: E402
from ablation.data.build import build_dataset  # noqa: E402
from ablation.data.dataset import Dataset  # noqa: E402
from ablation.data.splits import SPLITS  # noqa: E402

ConfigStore.__deepcopy__ = lambda self, _memo: self  # as ablation.run does: composing takes half the time

# They take longest, so they start first: the files are shared out one after the other.
LONGEST = ("test_sweep.py", "test_bad_inputs.py", "test_report.py", "test_execute.py", "test_registered.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


MICRO = (
    "model.name=micro",
    f"model.config={ROOT / 'tests' / 'assets' / 'micro_rcnn.yaml'}",
    "model.weights=''",
    "dataset.train_size=8",
    "dataset.test_size=4",
    "dataset.image_size=64",
)


def _composed(*overrides: str) -> dict[str, Any]:
    return copy.deepcopy(_composed_once(overrides))


@functools.cache
def _composed_once(overrides: tuple[str, ...]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        container = OmegaConf.to_container(hydra_compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


@pytest.fixture
def compose() -> Callable[..., dict[str, Any]]:
    """Return a function that composes conf/ with overrides to nested plain mappings."""
    return _composed


@pytest.fixture(scope="session")
def module_compose() -> Callable[..., dict[str, Any]]:
    """Return `compose` to fixtures that live longer than a test."""
    return _composed


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return overrides for the smallest real model on twelve tiny images, which are generated once for all tests."""
    return [*MICRO, f"sweep.root={tmp_path_factory.mktemp('micro') / 'sweeps'}"]


@dataclass(frozen=True)
class CommandResult:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def in_process(monkeypatch, capsys):
    """Run the `main` of a command in this process with these arguments."""

    def run_main(main: Callable[[], object], *arguments: str) -> CommandResult:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # main sets it; this makes pytest restore it
        monkeypatch.delenv("HYDRA_FULL_ERROR")
        monkeypatch.setattr(sys, "path", sys.path[:])
        monkeypatch.setattr(sys, "argv", [main.__module__, *arguments])
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        # sys.exit("text") prints the text and ends with 1; here nobody prints it.
        return (
            CommandResult(1, out, f"{err}{status}")
            if isinstance(status, str)
            else CommandResult(int(status or 0), out, err)
        )

    return run_main


@pytest.fixture
def root(tmp_path):
    """Where the sweeps of a test go."""
    return tmp_path / "sweeps"


@pytest.fixture
def bare_command(in_process, root):
    """`python -m ablation.run` in this process."""
    return lambda *arguments: in_process(run.main, f"sweep.root={root}", *arguments)


@pytest.fixture
def command(bare_command, micro):
    """A command about the micro model and generated images."""
    own = [override for override in micro if not override.startswith("sweep.root=")]
    return lambda *arguments: bare_command(*own, *arguments)


@pytest.fixture
def requested_cells(monkeypatch):
    """Return a function that gives the cells that the sweeper makes of a command line."""

    def composed(*arguments):
        GlobalHydra.instance().clear()
        taken = []
        monkeypatch.setattr("ablation.sweep.sweep.run_sweep", lambda cells, *_, **__: taken.extend(cells))
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            config = hydra.compose_config("config", list(arguments), RunMode.MULTIRUN, with_log_configuration=False)
            context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
            sweeper = Plugins.instance().instantiate_sweeper(
                hydra_context=context, task_function=lambda _: None, config=config
            )
            sweeper.sweep(OmegaConf.to_container(config.hydra.overrides.task))
        return taken

    return composed


def tiny_coco(images: int = 2) -> dict[str, Any]:
    """A valid COCO data set of 64-pixel images with one polygon and one box each; category ids have a gap."""
    annotations = []
    for image in range(1, images + 1):
        polygon = [8.0, 8.0, 40.0, 8.0, 40.0, 40.0, 8.0, 40.0]
        for category, box in ((1, [8, 8, 32, 32]), (7, [8, 8, 32, 32])):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "segmentation": [polygon],
                    "iscrowd": 0,
                }
            )
    return {
        "info": {},
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "square"}, {"id": 7, "name": "box"}],
    }


@pytest.fixture
def coco_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder with train.json, test.json and images/; `edit` may change the data before they are written."""

    def make(name: str = "coco", images: int = 2, edit: Callable[[dict[str, Any]], object] | None = None) -> Path:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        data = tiny_coco(images)
        for entry in data["images"]:
            Image.new("RGB", (64, 64), (40 * entry["id"] % 256, 90, 120)).save(folder / "images" / entry["file_name"])
        if edit is not None:
            edit(data)
        for split in ("train", "test"):
            (folder / f"{split}.json").write_text(json.dumps(data))
        return folder

    return make


@pytest.fixture
def coco_dataset(compose: Callable[..., dict[str, Any]]) -> Callable[..., Dataset]:
    """The data set of a COCO folder, with overrides."""

    def of(folder: Path, *overrides: str) -> Dataset:
        files = [f"dataset.{split}_json={folder / split}.json" for split in SPLITS]
        files += [f"dataset.{split}_images={folder / 'images'}" for split in SPLITS]
        keys = ["dataset=coco_json", *files, f"dataset.folder={folder / 'derived'}"]
        return build_dataset(validate_config(compose(*keys, *overrides)).dataset)

    return of
