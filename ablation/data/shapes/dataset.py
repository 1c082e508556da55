"""The built-in data set, generated on the first run."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from ablation.config.dataset import ShapesConfig
from ablation.data.dataset import Dataset
from ablation.data.shapes import generate as shapes
from ablation.data.splits import SPLITS, Split, SplitName
from ablation.data.survey import SIZES, no_objects
from ablation.records.atomic import sync
from ablation.records.errors import DataError
from ablation.scoring.matches import AREAS


class Shapes(Dataset):
    """`dataset=shapes`: a folder with generated images and their annotations, named by what decides its content."""

    config: ShapesConfig

    def fingerprint(self, split: SplitName) -> str:  # noqa: D102
        # The images of a split do not depend on how many the other one has.
        other = "test_size" if split == "train" else "train_size"
        return f"shapes-{_hash(self.config.model_copy(update={other: 1}))}/{split}"

    def split(self, name: SplitName) -> Split:  # noqa: D102
        return self._open(Split(self._folder / f"{name}.json", self._folder / name))

    def prepare(self) -> None:  # noqa: D102
        folder = self._folder
        if self._is_whole():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if self._is_whole():
                return
            for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
                temporary, damaged = Path(name) / "new", Path(name) / "damaged"
                shapes.generate(_spec(self.config), temporary)
                for path in (*temporary.rglob("*"), temporary):
                    sync(path)
                if folder.exists():
                    folder.rename(damaged)
                temporary.rename(folder)  # so that the folder is there as a whole or not at all
                sync(folder.parent)

    def find_gap(self, metric: str) -> str:  # noqa: D102
        task, name = metric.split("/")
        if task in ("keypoints", "sem_seg"):
            return "generated images have boxes and masks alone"
        smallest, largest = shapes.areas(_spec(self.config))
        low, high = AREAS[SIZES.get(name, "all")]
        return "" if smallest <= high and largest >= low else no_objects(name)

    def _is_whole(self) -> bool:
        """Return True if all generated files are there to their ends; a disk or a user may have lost some."""
        splits = [Split(self._folder / f"{name}.json", self._folder / name) for name in SPLITS]
        try:
            return all(split.image_scan.read for split in splits)
        except DataError:
            return False

    @property
    def _folder(self) -> Path:
        return Path(self.config.folder) / f"shapes-{_hash(self.config)}"


def _hash(config: ShapesConfig) -> str:
    content = json.dumps([shapes.VERSION, asdict(_spec(config))], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _spec(config: ShapesConfig) -> shapes.ShapesSpec:
    return shapes.ShapesSpec(config.seed, config.train_size, config.test_size, config.image_size)
