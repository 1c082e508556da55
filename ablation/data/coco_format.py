"""Data sets in COCO format, of which a configuration may select classes and images."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from ablation.config.dataset import CocoConfig, CocoFormatConfig, CocoJsonConfig
from ablation.data.dataset import Dataset
from ablation.data.sampling import sample_ids
from ablation.data.selection import Selection
from ablation.data.splits import SPLITS, Split, SplitName
from ablation.data.survey import Survey, find_gap, survey
from ablation.records.atomic import write_text
from ablation.records.errors import DataError


class CocoFormat(Dataset):
    """The user's COCO-format files, or the part of them that the configuration selects."""

    config: CocoFormatConfig

    @abstractmethod
    def source(self, split: SplitName) -> Split:
        """Return the user's files that a split is taken from, the same for both if a share is set apart."""

    def fingerprint(self, split: SplitName) -> str:  # noqa: D102
        selection = self.selections[split]
        labels = [f"sem_seg-{selection.source.label_fingerprint}"] if selection.source.sem_seg else []
        return "/".join([selection.fingerprint, *labels])

    def split(self, name: SplitName) -> Split:  # noqa: D102
        return self._open(self.selections[name].target(Path(self.config.folder)))

    def prepare(self) -> None:  # noqa: D102
        for name, selection in self.selections.items():
            path = self.split(name).annotations
            if path.exists():  # the user's own file, or one that an earlier run has written
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    write_text(path, json.dumps(selection.extract()))

    @cached_property
    def selections(self) -> Mapping[SplitName, Selection]:  # noqa: D102
        sources = {split: self._open(self.source(split)) for split in SPLITS}
        return {s: Selection(source, self._select_ids(source, s), self.config.classes) for s, source in sources.items()}

    def survey(self) -> Survey:  # noqa: D102
        return self._survey

    def find_gap(self, metric: str) -> str:  # noqa: D102
        return find_gap(self.selections["test"], metric)

    @cached_property
    def _survey(self) -> Survey:
        return survey(self.selections)

    def _select_ids(self, source: Split, split: SplitName) -> frozenset[int]:
        """Take the split's share of the images first, then sample of it."""
        ids, seed = frozenset(source.summary.entries), self.config.draw_seed
        share: float | None = getattr(self.config, "test_share", None)  # CocoConfig has none
        if share is not None:
            count = round(share * len(ids))
            if not 0 < count < len(ids):
                raise DataError(
                    f"dataset.test_share={share} of {len(ids)} images leaves {len(ids) - count} to train on and "
                    f"{count} to test on. Both need at least one: choose another share."
                )
            test = sample_ids(ids, count, seed=seed, purpose="split")
            ids = test if split == "test" else ids - test
        size = self.config.train_size if split == "train" else self.config.test_size
        if size is None:
            return ids
        if size > len(ids):
            raise DataError(
                f"dataset.{split}_size must be <= {len(ids)}, which is how many images there are, got {size}. Choose "
                "fewer, or null for all."
            )
        return sample_ids(ids, size, seed=seed, purpose=split)


class Coco(CocoFormat):
    """`dataset=coco`: root/annotations/instances_train2017.json, root/train2017, and the same for val2017."""

    config: CocoConfig

    def source(self, split: SplitName) -> Split:  # noqa: D102
        root = Path(self.config.root)
        name = f"{'train' if split == 'train' else 'val'}{self.config.year}"
        labels = root / f"panoptic_stuff_{name}" if self.config.sem_seg else None
        return Split(root / "annotations" / f"instances_{name}.json", root / name, labels)


class CocoJson(CocoFormat):
    """`dataset=coco_json`: one annotation file for each split, or one that both share."""

    config: CocoJsonConfig

    def source(self, split: SplitName) -> Split:  # noqa: D102
        config = self.config
        if split == "train" or config.test_json is None or config.test_images is None:
            return _split(config.train_json, config.train_images, config.train_sem_seg)
        return _split(config.test_json, config.test_images, config.test_sem_seg)


def _split(annotations: str, images: str, sem_seg: str | None) -> Split:
    labels = Path(sem_seg) if sem_seg is not None else None
    return Split(Path(annotations), Path(images), labels)
