"""Values of a JSON file: checks of their type, and how messages show them."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

# pycocotools draws each step of a polygon's edge: a corner at 1e8 takes minutes, one at 1e9 ends the process.
FARTHEST = 1_000_000  # pixels


class FormatError(ValueError):
    """An entry of an annotation file is not valid COCO; the message continues "annotation 7 ..."."""


def is_integer(value: object) -> bool:
    """Return True for an integer of at most 63 bits, as COCO's tools have them; those of JSON have no limit."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def is_finite(value: object, limit: float = FARTHEST) -> bool:
    """Return True for a number below a limit, by default one that can be a coordinate in an image."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < limit


def are_finite(values: list[Any]) -> bool:
    """Apply `is_finite` to each of at least one value, ten times as fast: a data set has millions of points."""
    if not set(map(type, values)) <= {int, float}:
        return False
    return min(values) > -FARTHEST and max(values) < FARTHEST and math.isfinite(sum(values))


def is_one_line(text: str) -> bool:
    """Return True for text that fits in one line of a table: no line break, control character or lone surrogate."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def json_type(value: object) -> str:
    """Return JSON's name for the type of a value, with its article."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def format_json(value: object) -> str:
    """Return a value of the file as short printable text, whatever it is."""
    try:
        text = ascii(value)
    except RecursionError:
        return json_type(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
