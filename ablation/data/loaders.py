"""Splits in detectron2's catalog, and the loaders that read them."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, DatasetMapper, MapDataset, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.datasets import load_coco_json
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from ablation.data.coco.annotations import AnnotationSummary, Split, check_annotations_file
from ablation.data.semantic import label_file

logger = logging.getLogger(__name__)

Batch = list[dict[str, Any]]


def register(split: Split) -> str:
    """Make a split known to detectron2 under its paths; the name to use. Repeating it is harmless."""
    annotations, images = str(split.annotations), str(split.images)
    labels = f" and the semantic labels of {split.sem_seg}" if split.sem_seg else ""
    name = f"{annotations} with the images of {images}{labels}"
    if name not in DatasetCatalog.list():
        contents = check_annotations_file(split)
        for remark in contents.remarks:
            logger.warning("%s: %s", split.annotations, remark)
        DatasetCatalog.register(name, lambda: _loaded(split, contents, name))
        metadata = MetadataCatalog.get(name)
        metadata.set(json_file=annotations, image_root=images, evaluator_type="coco", has_rle=contents.has_rle)
        if contents.keypoints:
            metadata.set(keypoint_names=contents.keypoints, keypoint_flip_map=list(contents.flips))
    return name


def register_semantic(split: Split, classes: int, ignore_value: int) -> str:
    """Make the semantic labels of a split known to detectron2's evaluator, for a model of so many classes."""
    whole = register(split)
    name = f"{whole}, {classes} classes and {ignore_value}"
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, lambda: DatasetCatalog.get(whole))
        MetadataCatalog.get(name).set(stuff_classes=[str(i) for i in range(classes)], ignore_label=ignore_value)
    return name


def _loaded(split: Split, contents: AnnotationSummary, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = load_coco_json(str(split.annotations), str(split.images), name)
    if split.sem_seg:
        for entry in entries:
            labels = label_file(split, contents.entries[entry["image_id"]].name)
            entry["sem_seg_file_name"] = str(labels)  # a string, as in detectron2's own data sets
    return entries


def train_batches(feed: LoaderConfig, mapper: Mapper, name: str, start: int) -> Iterator[Batch]:
    """An endless stream of mapped training batches, from iteration `start` on.

    Order and batches are detectron2's (its sampler, its grouping by aspect ratio). Each item is augmented from
    a seed of its own, made of the training's seed and the item's number, so that batch i is the same after a
    resumption and for any number of workers. Each of several ranks gets its share of the batch.
    """
    dicts = get_detection_dataset_dicts(name, filter_empty=feed.filters_empty)
    _pack_polygons(dicts)
    seed = comm.shared_random_seed()
    stream: Iterator[list[tuple[int, int]]] = _numbered_batches(dicts, seed, feed)
    loader = DataLoader(
        _Mapped(dicts, mapper, seed),
        batch_sampler=islice(stream, start, None),
        num_workers=feed.workers,
        collate_fn=_unchanged,
    )
    return iter(loader)


def evaluation_loader(mapper: Mapper, name: str, batch_size: int, workers: int = 0) -> DataLoader[Any]:
    """Batches of the mapped images of a registered split, images of one size together.

    A batch of several sizes would be padded to the largest, and what the network makes of padding reaches into the
    image: then its detections would depend on its neighbours.
    """
    dicts = get_detection_dataset_dicts(name, filter_empty=False)
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, entry in enumerate(dicts):
        by_size.setdefault((entry["height"], entry["width"]), []).append(number)
    batches = [same[i : i + batch_size] for same in by_size.values() for i in range(0, len(same), batch_size)]
    return DataLoader(MapDataset(dicts, mapper), batch_sampler=batches, num_workers=workers, collate_fn=_unchanged)


def _pack_polygons(dicts: Sequence[dict[str, Any]]) -> None:
    """Polygons as arrays, which the mapper makes of them anyway: every image is copied each time it is read."""
    for entry in dicts:
        for annotation in entry.get("annotations", ()):
            if isinstance(annotation.get("segmentation"), list):
                annotation["segmentation"] = [np.asarray(polygon) for polygon in annotation["segmentation"]]


def _numbered_batches(
    dicts: Sequence[dict[str, Any]], seed: int, feed: LoaderConfig
) -> Iterator[list[tuple[int, int]]]:
    items = (
        {"width": dicts[i]["width"], "height": dicts[i]["height"], "item": (number, i)}
        for number, i in zip(count(comm.get_rank(), comm.get_world_size()), TrainingSampler(len(dicts), seed=seed))
    )
    size = feed.batch_size // comm.get_world_size()
    if feed.groups_by_aspect:
        groups: Iterable[list[dict[str, Any]]] = AspectRatioGroupedDataset(items, size)
    else:
        groups = iter(lambda: list(islice(items, size)), [])
    for group in groups:
        yield [entry["item"] for entry in group]


class _Mapped(Dataset[dict[str, Any]]):
    def __init__(self, dicts: Sequence[dict[str, Any]], mapper: Mapper, seed: int) -> None:
        self._dicts, self._mapper, self._seed = dicts, mapper, seed
        self._copies = isinstance(mapper, DatasetMapper)  # detectron2's copies what it is about to change

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        number, index = item
        # detectron2's augmentations draw from these two global generators.
        np.random.seed((self._seed + number) % 2**32)
        random.seed(self._seed + number)
        entry = self._dicts[index]
        return self._mapper(entry if self._copies else copy.deepcopy(entry))


def _unchanged(batch: Batch) -> Batch:
    return batch


Mapper = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class LoaderConfig:
    """How a training is fed.

    batch_size: images per iteration; filters_empty: images without objects are left out; groups_by_aspect: wide and
    tall images come in batches of their own; workers: processes that load images, 0 for none.
    """

    batch_size: int
    filters_empty: bool
    groups_by_aspect: bool
    workers: int
