"""Data sets of detectron2's DatasetCatalog, exported to COCO files. No torch.

Only calling a registered function shows what it returns, and that needs detectron2 and the user's modules: a worker
process does it, once for each command.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation.config.dataset import RegisteredConfig
from ablation.config.keys import did_you_mean
from ablation.data.coco_format import CocoFormat
from ablation.data.splits import Split, SplitName
from ablation.data.survey import Survey
from ablation.processes import launch
from ablation.records.atomic import write_text
from ablation.records.errors import DataError, first_line


class Registered(CocoFormat):
    """`dataset=registered`: names in detectron2's DatasetCatalog, which the modules of `imports` put there."""

    config: RegisteredConfig

    def source(self, split: SplitName) -> Split:
        """Return the exported file; the first run on a machine that has none exports it."""
        files = self._exported(split if split in self._names else "train")
        if not files.annotations.exists():
            self._export()
        return files

    def survey(self) -> Survey:
        """Export what is registered now, unless this command has read it already, and check it as any COCO file."""
        if self._exported("train") not in self._opened:
            self._export()
        try:
            return super().survey()
        except DataError as error:
            names = " and ".join(self._names.values())
            raise DataError(f"{error} The file holds what is registered as {names}: fix that.") from error

    @property
    def _names(self) -> Mapping[SplitName, str]:
        names: dict[SplitName, str | None] = {"train": self.config.train_name, "test": self.config.test_name}
        return {split: name for split, name in names.items() if name}

    @property
    def _folder(self) -> Path:
        content = json.dumps([self.config.imports, self.config.train_name, self.config.test_name])
        return Path(self.config.folder) / f"registered-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def _exported(self, split: SplitName) -> Split:
        return Split(self._folder / f"{split}.json", Path())  # file names stay as they are registered

    def _export(self) -> None:
        imports = self.config.imports
        try:
            problem = launch.call(_export, imports, self._names, self._folder, log=Path(os.devnull))
        except RuntimeError as error:
            problem = f"What dataset.imports={imports} registers cannot be exported to {self._folder}: {error}"
        if problem:
            raise DataError(problem)


def _export(imports: Sequence[str], names: Mapping[SplitName, str], folder: Path) -> str | None:
    """In the worker: import, convert and write, or return what is wrong."""
    sys.path.insert(0, str(Path.cwd()))
    for module in imports:
        try:
            importlib.import_module(module)
        except Exception as error:
            return (
                f"dataset.imports: {module!r} cannot be imported: {_describe(error)}. Give modules that are "
                f"installed or lie in {Path.cwd()}."
            )
    for split, name in names.items():
        try:
            text = _convert(split, name, imports)
        except DataError as error:
            return str(error)
        target = folder / f"{split}.json"
        # A file of the same content stays as it is, and so does its time.
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            write_text(target, text)
    return None


def _convert(split: SplitName, name: str, imports: Sequence[str]) -> str:
    """Return what is registered under a name as COCO JSON."""
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
            f"{key}: what is registered as {name!r} is not in detectron2's standard format: {_describe(error)}. Each "
            "image needs file_name, height and width, each annotation bbox, bbox_mode and category_id, and the "
            "metadata thing_classes."
        ) from error
    if points := getattr(metadata, "keypoint_names", None):
        flips = getattr(metadata, "keypoint_flip_map", None) or []
        data["categories"] = [c | {"keypoints": points, "keypoint_flip_map": flips} for c in data["categories"]]
    data["info"] = {"description": name}  # the converter's own description holds the date
    return json.dumps(data, default=lambda value: value.tolist())  # numbers and arrays of NumPy


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
