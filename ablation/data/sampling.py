"""Sampling of images: the same images on every machine for the same seed. No torch."""

from __future__ import annotations

import hashlib


def sample_ids(ids: frozenset[int], count: int, *, seed: int, purpose: str) -> frozenset[int]:
    """Sample `count` of the ids, or all if there are fewer; a larger sample of the same seed contains the smaller one.

    The ids are ordered by a hash, not by a random generator, so that the sample depends on nothing but seed, purpose
    and the ids themselves.
    """
    return frozenset(sorted(ids, key=lambda i: hashlib.sha256(f"{purpose}/{seed}/{i}".encode()).digest())[:count])
