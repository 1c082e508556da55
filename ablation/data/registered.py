"""Data sets of detectron2's DatasetCatalog, kept as COCO files: everything else goes on from these. No torch here.

What a registered function returns is known by calling it only, and that needs detectron2 and the user's modules: a
worker process does it, once for each command.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.config.dataset import RegisteredConfig
from ablation.config.keys import did_you_mean
from ablation.data.coco.annotations import Split
from ablation.processes import launch
from ablation.records.atomic import write_text
from ablation.records.errors import DataError

if TYPE_CHECKING:
    from ablation.data.selection import SplitName


def export_registered(dataset: RegisteredConfig, split: SplitName) -> Split:
    """The COCO file of a registered data set, made if no command has made it yet; file names are as registered."""
    annotations = _folder(dataset) / f"{split}.json"
    if not annotations.exists():
        refresh(dataset)
    return Split(annotations, Path())


def refresh(dataset: RegisteredConfig) -> None:
    """Ask for what is registered now and keep it; a file whose content is the same is left alone.

    Raises:
        DataError: a module cannot be imported, a name is not registered, or its content is not detectron2's format.
    """
    _refresh(tuple(dataset.imports), names(dataset), _folder(dataset))


def names(dataset: RegisteredConfig) -> tuple[tuple[SplitName, str], ...]:
    """The names given, with the split that each is for."""
    test: tuple[tuple[SplitName, str], ...] = (("test", dataset.test_name),) if dataset.test_name else ()
    return ("train", dataset.train_name), *test


@lru_cache(maxsize=16)
def _refresh(imports: tuple[str, ...], names: tuple[tuple[SplitName, str], ...], folder: Path) -> None:
    try:
        refusal = launch.call(_keep, imports, names, folder, log=Path(os.devnull))
    except RuntimeError as error:
        refusal = f"What dataset.imports={list(imports)} registers cannot be read and kept in {folder}: {error}"
    if refusal:
        raise DataError(refusal)


def _folder(dataset: RegisteredConfig) -> Path:
    content = json.dumps([dataset.imports, dataset.train_name, dataset.test_name])
    return Path(dataset.folder) / f"registered-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _keep(imports: tuple[str, ...], names: tuple[tuple[SplitName, str], ...], folder: Path) -> str | None:
    """In the worker: import, convert and write; why that cannot be, in words."""
    sys.path.insert(0, str(Path.cwd()))
    for module in imports:
        try:
            importlib.import_module(module)
        except Exception as error:
            return (
                f"dataset.imports: {module!r} cannot be imported: {_told(error)}. Give modules that are installed or "
                f"lie in {Path.cwd()}."
            )
    for split, name in names:
        try:
            text = _converted(split, name, imports)
        except DataError as error:
            return str(error)
        target = folder / f"{split}.json"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            write_text(target, text)
    return None


def _converted(split: SplitName, name: str, imports: tuple[str, ...]) -> str:
    """What is registered under a name, as COCO JSON."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets.coco import convert_to_coco_dict

    key = f"dataset.{split}_name"
    if name not in DatasetCatalog.list():
        by = f"by {', '.join(imports)}" if imports else "by detectron2 itself, and dataset.imports is empty"
        raise DataError(f"{key}: {name!r} is not registered {by}. {did_you_mean(name, DatasetCatalog.list())}")
    try:
        data: dict[str, Any] = convert_to_coco_dict(name)
        metadata = MetadataCatalog.get(name)
    except Exception as error:
        raise DataError(
            f"{key}: what is registered as {name!r} is not in detectron2's standard format: {_told(error)}. Each image "
            "needs file_name, height and width, each annotation bbox, bbox_mode and category_id, and the metadata "
            "thing_classes."
        ) from error
    if points := getattr(metadata, "keypoint_names", None):
        flips = getattr(metadata, "keypoint_flip_map", None) or []
        data["categories"] = [c | {"keypoints": points, "keypoint_flip_map": flips} for c in data["categories"]]
    data["info"] = {"description": name}  # the converter's has the date
    return json.dumps(data, default=_plain)


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays as Python's."""
    return value.tolist()


def _told(error: Exception) -> str:
    lines = f"{type(error).__name__}: {error}".splitlines()
    return lines[0].rstrip(".")
