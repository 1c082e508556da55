"""Splits in detectron2's catalog, and the loaders that read them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MapDataset,
    MetadataCatalog,
    get_detection_dataset_dicts,
)
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.datasets import load_coco_json
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from ablation.datasets.annotations import Split

Batch = list[dict[str, Any]]


def register(split: Split) -> str:
    """Make a split known to detectron2 under its paths; the name to use. Repeating it is harmless."""
    annotations, images = str(split.annotations), str(split.images)
    name = f"{annotations} with the images of {images}"
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, lambda: load_coco_json(annotations, images, name))
        MetadataCatalog.get(name).set(json_file=annotations, image_root=images, evaluator_type="coco")
    return name


def train_batches(cfg: CfgNode, name: str, start: int) -> Iterator[Batch]:
    """An endless stream of mapped training batches, from iteration `start` on.

    Order and batches are detectron2's (its sampler, its grouping by aspect ratio). Each item is augmented from
    a seed of its own, made of the training's seed and the item's number, so that batch i is the same after a
    resumption and for any number of workers.
    """
    dicts = get_detection_dataset_dicts(name, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    seed = comm.shared_random_seed()
    stream: Iterator[list[tuple[int, int]]] = _numbered_batches(dicts, seed, cfg)
    loader = DataLoader(
        _Mapped(dicts, DatasetMapper(cfg, is_train=True), seed),
        batch_sampler=islice(stream, start, None),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_unchanged,
    )
    return iter(loader)


def evaluation_loader(cfg: CfgNode, name: str, batch_size: int) -> DataLoader[Any]:
    """Batches of the mapped images of a registered split, images of one size together.

    A batch of several sizes would be padded to the largest, and what the network makes of padding reaches into the
    image: then its detections would depend on its neighbours.
    """
    dicts = get_detection_dataset_dicts(name, filter_empty=False)
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, entry in enumerate(dicts):
        by_size.setdefault((entry["height"], entry["width"]), []).append(number)
    batches = [same[i : i + batch_size] for same in by_size.values() for i in range(0, len(same), batch_size)]
    return DataLoader(
        MapDataset(dicts, DatasetMapper(cfg, is_train=False)),
        batch_sampler=batches,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_unchanged,
    )


def _numbered_batches(dicts: Sequence[dict[str, Any]], seed: int, cfg: CfgNode) -> Iterator[list[tuple[int, int]]]:
    items = (
        {"width": dicts[i]["width"], "height": dicts[i]["height"], "item": (number, i)}
        for number, i in enumerate(TrainingSampler(len(dicts), seed=seed))
    )
    size = cfg.SOLVER.IMS_PER_BATCH
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        groups: Iterable[list[dict[str, Any]]] = AspectRatioGroupedDataset(items, size)
    else:
        groups = iter(lambda: list(islice(items, size)), [])
    for group in groups:
        yield [entry["item"] for entry in group]


class _Mapped(Dataset[dict[str, Any]]):
    def __init__(self, dicts: Sequence[dict[str, Any]], mapper: DatasetMapper, seed: int) -> None:
        self._dicts, self._mapper, self._seed = dicts, mapper, seed

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        number, index = item
        # detectron2's augmentations draw from these two global generators.
        np.random.seed((self._seed + number) % 2**32)
        random.seed(self._seed + number)
        mapped: dict[str, Any] = self._mapper(copy.deepcopy(self._dicts[index]))
        return mapped


def _unchanged(batch: Batch) -> Batch:
    return batch
