"""Sampling of images: the same images on every machine for the same seed. No torch."""

from __future__ import annotations

import hashlib

from ablation.records.errors import DataError


def sample_ids(ids: frozenset[int], count: int, *, seed: int, purpose: str) -> frozenset[int]:
    """Sample `count` of the ids, or all if there are fewer; a larger sample of the same seed contains the smaller one.

    The ids are ordered by a hash, not by a random generator, so that the sample depends on nothing but seed, purpose
    and the ids themselves.
    """
    return frozenset(sorted(ids, key=lambda i: hashlib.sha256(f"{purpose}/{seed}/{i}".encode()).digest())[:count])


def split_ids(ids: frozenset[int], share: float, seed: int) -> tuple[frozenset[int], frozenset[int]]:
    """Divide the ids into those to train on and a share of them to test on.

    Raises:
        DataError: One of the two would be empty.
    """
    count = round(share * len(ids))
    if not 0 < count < len(ids):
        raise DataError(
            f"dataset.test_share={share} of {len(ids)} images leaves {len(ids) - count} to train on and {count} to "
            "test on. Both need at least one: choose another share."
        )
    test = sample_ids(ids, count, seed=seed, purpose="split")
    return ids - test, test
