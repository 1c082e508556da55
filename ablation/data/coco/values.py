"""Values of a JSON file: what they are, how an error shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.records.errors import DataError


@dataclass(frozen=True)
class Refusal:
    """Makes the error about one place in a file: where it is, and what is wrong there."""

    path: Path

    def __call__(self, where: str, problem: str) -> DataError:
        """To be raised."""
        return DataError(f"{self.path}: {where} {problem}. Mend the file and repeat the command.")


def is_integer(value: object) -> bool:
    """Whether it is a whole number of 63 bits, which COCO's tools have; those of JSON have no limit."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def is_finite(value: object) -> bool:
    """Whether it is a number that a place in an image may have."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def are_finite(values: list[Any]) -> bool:
    """As `is_finite` for each of at least one, ten times as fast: a data set has millions of points."""
    if not set(map(type, values)) <= {int, float}:
        return False
    return min(values) > -1e9 and max(values) < 1e9 and math.isfinite(sum(values))


def kind_of(value: object) -> str:
    """What JSON calls it, with its article."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def shown(value: object) -> str:
    """A value of the file, short and printable, whatever it is."""
    try:
        return _shortened(ascii(value))
    except RecursionError:
        return kind_of(value)


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."
