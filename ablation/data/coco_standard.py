"""COCO as it is unpacked."""

from __future__ import annotations

from pathlib import Path

from ablation.config.dataset import CocoConfig
from ablation.data.coco_format import CocoFormat
from ablation.data.splits import Split, SplitName


class Coco(CocoFormat):
    """`dataset=coco`: root/annotations/instances_train2017.json, root/train2017, and the same for val2017."""

    config: CocoConfig

    def source(self, split: SplitName) -> Split:  # noqa: D102
        root = Path(self.config.root).expanduser()
        name = f"{'train' if split == 'train' else 'val'}{self.config.year}"
        labels = root / f"panoptic_stuff_{name}" if self.config.sem_seg else None
        return Split(root / "annotations" / f"instances_{name}.json", root / name, labels)
