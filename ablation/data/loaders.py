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
from detectron2.data.build import trivial_batch_collator
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.datasets import load_coco_json
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from ablation.data.semantic import label_file
from ablation.data.splits import Split

logger = logging.getLogger(__name__)

Batch = list[dict[str, Any]]


def register(split: Split) -> str:
    """Register a split with detectron2 under its paths, unless that is done, and return its name there."""
    annotations, images = str(split.annotations), str(split.images)
    labels = f" and the semantic labels of {split.sem_seg}" if split.sem_seg else ""
    name = f"{annotations} with the images of {images}{labels}"
    if name not in DatasetCatalog.list():
        summary = split.summary
        for remark in summary.remarks:
            logger.warning("%s: %s", split.annotations, remark)
        DatasetCatalog.register(name, lambda: _load(split, name))
        metadata = MetadataCatalog.get(name)
        metadata.set(json_file=annotations, image_root=images, evaluator_type="coco", has_rle=summary.has_rle)
        if summary.keypoints:
            metadata.set(keypoint_names=summary.keypoints, keypoint_flip_map=list(summary.flips))
    return name


def register_semantic(split: Split, classes: int, ignore_value: int) -> str:
    """Register a split for detectron2's evaluator of semantic labels and return its name there.

    Args:
        split: One with semantic labels.
        classes: Number of classes that the model predicts.
        ignore_value: Pixel value of unlabelled pixels.
    """
    instances = register(split)
    name = f"{instances}, {classes} classes and {ignore_value}"
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, lambda: DatasetCatalog.get(instances))
        MetadataCatalog.get(name).set(stuff_classes=[str(i) for i in range(classes)], ignore_label=ignore_value)
    return name


def _load(split: Split, name: str) -> list[dict[str, Any]]:
    dicts: list[dict[str, Any]] = load_coco_json(str(split.annotations), str(split.images), name)
    if split.sem_seg:
        for entry in dicts:
            labels = label_file(split.sem_seg, split.summary.entries[entry["image_id"]].name)
            entry["sem_seg_file_name"] = str(labels)  # a string, as in detectron2's own data sets
    return dicts


def train_batches(config: LoaderConfig, mapper: Mapper, name: str, start: int) -> Iterator[Batch]:
    """Return an endless stream of mapped training batches of a registered split, from iteration `start` on.

    Order and batches are detectron2's (its sampler, its grouping by aspect ratio). Each item is augmented from a seed
    of its own, made of the training's seed and the item's number, so that batch i is the same after a resumption and
    for any number of workers. Each of several ranks gets its share of the batch.
    """
    dicts = get_detection_dataset_dicts(name, filter_empty=config.filters_empty, min_keypoints=config.min_keypoints)
    _pack_polygons(dicts)
    seed = comm.shared_random_seed()
    loader = DataLoader(
        _Mapped(dicts, mapper, seed),
        batch_sampler=islice(_numbered_batches(dicts, seed, config), start, None),
        num_workers=config.workers,
        collate_fn=trivial_batch_collator,
    )
    return iter(loader)


def evaluation_loader(mapper: Mapper, name: str, batch_size: int, workers: int = 0) -> DataLoader[Any]:
    """Return batches of the mapped images of a registered split, each of images of one size.

    Images of several sizes would be padded to the largest, and the features of the padding reach into the image: its
    detections would depend on the other images of its batch.
    """
    dicts = get_detection_dataset_dicts(name, filter_empty=False)
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, entry in enumerate(dicts):
        by_size.setdefault((entry["height"], entry["width"]), []).append(number)
    batches = [same[i : i + batch_size] for same in by_size.values() for i in range(0, len(same), batch_size)]
    return DataLoader(
        MapDataset(dicts, mapper), batch_sampler=batches, num_workers=workers, collate_fn=trivial_batch_collator
    )


def _pack_polygons(dicts: Sequence[dict[str, Any]]) -> None:
    """Convert polygons to arrays, as the mapper does anyway: its copy of an entry, one for each item, gets cheaper."""
    for entry in dicts:
        for annotation in entry.get("annotations", ()):
            if isinstance(annotation.get("segmentation"), list):
                annotation["segmentation"] = [np.asarray(polygon) for polygon in annotation["segmentation"]]


def _numbered_batches(
    dicts: Sequence[dict[str, Any]], seed: int, config: LoaderConfig
) -> Iterator[list[tuple[int, int]]]:
    """Yield batches of item numbers, which count all items of all ranks, and indices into `dicts`."""
    items = (
        {"width": dicts[i]["width"], "height": dicts[i]["height"], "item": (number, i)}
        for number, i in zip(count(comm.get_rank(), comm.get_world_size()), _sampler(dicts, seed, config))
    )
    size = config.batch_size // comm.get_world_size()
    if config.groups_by_aspect:
        groups: Iterable[list[dict[str, Any]]] = AspectRatioGroupedDataset(items, size)
    else:
        groups = iter(lambda: list(islice(items, size)), [])
    for group in groups:
        yield [entry["item"] for entry in group]


def _sampler(dicts: Sequence[dict[str, Any]], seed: int, config: LoaderConfig) -> Iterable[int]:
    if not config.repeat_threshold:
        sampler: Iterable[int] = TrainingSampler(len(dicts), seed=seed)
        return sampler
    frequency = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
    factors = frequency(dicts, config.repeat_threshold, sqrt=config.repeat_sqrt)
    repeating: Iterable[int] = RepeatFactorTrainingSampler(factors, seed=seed)
    return repeating


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


Mapper = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class LoaderConfig:
    """How training batches are formed and loaded.

    Attributes:
        batch_size: Images per iteration, over all ranks.
        filters_empty: Images without objects are left out.
        groups_by_aspect: Wide and tall images are put into batches of their own.
        workers: Number of processes that load images, 0 for none.
        min_keypoints: Images with fewer visible keypoints are left out.
        repeat_threshold: Images with a category in a smaller share of the images are repeated; 0 repeats none.
        repeat_sqrt: The number of repetitions is the square root of how many times rarer the category is.
    """

    batch_size: int
    filters_empty: bool
    groups_by_aspect: bool
    workers: int
    min_keypoints: int = 0
    repeat_threshold: float = 0.0
    repeat_sqrt: bool = True
