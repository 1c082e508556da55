"""COCO-format files by path."""

from __future__ import annotations

from pathlib import Path

from ablation.config.dataset import CocoJsonConfig
from ablation.data.coco_format import CocoFormat
from ablation.data.splits import Split, SplitName


class CocoJson(CocoFormat):
    """`dataset=coco_json`: one annotation file for each split, or one that both share."""

    config: CocoJsonConfig

    @property
    def test_share(self) -> float | None:  # noqa: D102
        return self.config.test_share

    def source(self, split: SplitName) -> Split:  # noqa: D102
        config = self.config
        if split == "train" or config.test_json is None or config.test_images is None:
            return _expand(config.train_json, config.train_images, config.train_sem_seg)
        return _expand(config.test_json, config.test_images, config.test_sem_seg)


def _expand(annotations: str, images: str, sem_seg: str | None) -> Split:
    labels = Path(sem_seg).expanduser() if sem_seg is not None else None
    return Split(Path(annotations).expanduser(), Path(images).expanduser(), labels)
