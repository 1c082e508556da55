"""The part of an annotation file that a split takes: some of the images, some of the categories. No torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ablation.data.splits import Split


@dataclass(frozen=True)
class Selection:
    """The images and categories that a split takes of the user's files.

    Attributes:
        source: The user's files.
        ids: Ids of the selected images.
        classes: Names of the selected categories, None for all.
    """

    source: Split
    ids: frozenset[int]
    classes: Collection[str] | None

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the selected annotations; that of the file itself if all of it is selected."""
        summary = self.source.summary
        parts = [summary.fingerprint]
        if self.classes:
            parts.append(_join(sorted(set(self.classes))))
        if len(self.ids) < summary.images:
            digest = hashlib.sha256(json.dumps(sorted(self.ids)).encode())
            parts.append(f"images-{digest.hexdigest()[:12]}")
        return "/".join(parts)

    @cached_property
    def categories(self) -> dict[int, str]:
        """Names of the selected categories by id, in the order of the ids."""
        return {i: name for i, name in self.source.summary.categories if not self.classes or name in self.classes}

    @cached_property
    def objects(self) -> Counter[int]:
        """Number of objects to learn from in the selected images, by id of a selected category."""
        objects: Counter[int] = Counter()
        for (image, category), count in self.source.summary.objects.items():
            if image in self.ids and category in self.categories:
                objects[category] += count
        return objects

    @cached_property
    def traits(self) -> Counter[str]:
        """Number of objects in the selected images that a test counts, by trait (`AnnotationSummary.traits`)."""
        traits: Counter[str] = Counter()
        for (image, category, trait), count in self.source.summary.traits.items():
            if image in self.ids and category in self.categories:
                traits[trait] += count
        return traits

    def target(self, folder: Path) -> Split:
        """Return the files of the selection: the source if all of it is selected, else a file to write into `folder`.

        An annotation of id 0 needs a new id, and so a new file: pycocotools takes 0 for "not found".
        """
        summary = self.source.summary
        if self.fingerprint == summary.fingerprint and not summary.counts_from_zero:
            return self.source
        digest = hashlib.sha256(self.fingerprint.encode()).hexdigest()[:12]
        annotations = folder / f"{self.source.annotations.stem}-{digest}.json"
        return Split(annotations, self.source.images, self.source.sem_seg)

    def extract(self) -> dict[str, Any]:
        """Return the selected annotations in COCO format, with ids from 1 on.

        Selected images without an object of the classes stay: detections on them are false alarms.
        """
        data: dict[str, Any] = json.loads(self.source.annotations.read_bytes())
        ids, classes = self.ids, self.categories
        annotations = [a for a in data["annotations"] if a["category_id"] in classes and a["image_id"] in ids]
        for annotation in annotations:
            if annotation["id"] == 0:
                annotation["id"] = 1 + max(a["id"] for a in data["annotations"])
        images = [i for i in data["images"] if i["id"] in ids]
        categories = [c for c in data["categories"] if c["id"] in classes]
        return data | {"images": images, "annotations": annotations, "categories": categories}


def _join(names: list[str]) -> str:
    """Return a text that stands for these names alone; a hash where a plus belongs to a name."""
    if any("+" in name for name in names):
        return f"classes-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]}"
    return "+".join(names)
