"""Dotted keys of nested mappings, and suggestions for misspelt ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys. Lists stay values; empty mappings are dropped."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def is_below(key: str, names: Iterable[str]) -> bool:
    """Return True if a dotted key is one of these names or a part of one of them."""
    return any(f"{key}.".startswith(f"{name}.") for name in names)


def did_you_mean(wrong: str, allowed: list[str]) -> str:
    """Suggest the name closest to a misspelt one, or list the allowed names if none is close.

    Only the last part of a dotted key is compared.
    """
    last_parts = {name.rpartition(".")[2]: name for name in allowed}
    near = get_close_matches(wrong.rpartition(".")[2], last_parts, n=1)
    return f"Did you mean {last_parts[near[0]]}?" if near else f"Allowed: {', '.join(allowed)}."
