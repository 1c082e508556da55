"""Dotted keys: nested mappings made flat, and hints for misspelt names."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys; lists stay values, an empty mapping vanishes."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def did_you_mean(wrong: str, allowed: list[str]) -> str:
    """A hint for a misspelt name or dotted key, or the list of what is allowed when nothing is near."""
    last_parts = {name.rpartition(".")[2]: name for name in allowed}
    near = get_close_matches(wrong.rpartition(".")[2], last_parts, n=1)
    return f"Did you mean {last_parts[near[0]]}?" if near else f"Allowed: {', '.join(allowed)}."
