"""Which images of the user's files a data set takes: split and drawn by seed, the same on every machine. No torch."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal

from ablation.config.dataset import CocoConfig, CocoJsonConfig, RegisteredConfig
from ablation.data.coco.annotations import AnnotationSummary
from ablation.records.errors import DataError

SplitName = Literal["train", "test"]
CocoFormat = CocoConfig | CocoJsonConfig | RegisteredConfig


@lru_cache(maxsize=64)
def sample_ids(ids: frozenset[int], count: int, *, seed: int, purpose: str) -> frozenset[int]:
    """`count` of the ids; a larger count of the same seed holds the smaller one's.

    The order is that of hashes, not of a generator: it depends on nothing but seed, purpose and the ids themselves.
    """
    return frozenset(sorted(ids, key=lambda i: hashlib.sha256(f"{purpose}/{seed}/{i}".encode()).digest())[:count])


def select_images(dataset: CocoFormat, split: SplitName, contents: AnnotationSummary) -> frozenset[int]:
    """Ids of the images that a split takes of the file that it comes from: first its part, then those drawn of it.

    Raises:
        DataError: there are fewer than asked for.
    """
    ids = _ids(contents)
    share = None if isinstance(dataset, CocoConfig) else dataset.test_share
    if share is not None:
        ids = _parts(ids, share, dataset.draw_seed)[split == "test"]
    size = dataset.train_size if split == "train" else dataset.test_size
    if size is None:
        return ids
    if size > len(ids):
        raise DataError(
            f"dataset.{split}_size must be <= {len(ids)}, which is how many images there are, got {size}. Choose "
            "fewer, or null for all."
        )
    return sample_ids(ids, size, seed=dataset.draw_seed, purpose=split)


@lru_cache(maxsize=16)
def _ids(contents: AnnotationSummary) -> frozenset[int]:
    return frozenset(contents.entries)


@lru_cache(maxsize=16)
def _parts(ids: frozenset[int], share: float, seed: int) -> tuple[frozenset[int], frozenset[int]]:
    """What is left to train on, and the share to test on."""
    count = round(share * len(ids))
    if not 0 < count < len(ids):
        raise DataError(
            f"dataset.test_share={share} of {len(ids)} images leaves {len(ids) - count} to train on and {count} to "
            "test on. Both need one at least: choose another share."
        )
    test = sample_ids(ids, count, seed=seed, purpose="split")
    return ids - test, test
