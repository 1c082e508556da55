"""Messages for pydantic's errors: the key, its value, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from ablation.config.base import PATTERNS
from ablation.config.dataset import DATASETS
from ablation.config.keys import did_you_mean

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_ITEMS = {"a whole number": "whole numbers", "a number": "numbers", "a finite number": "finite numbers"}

# Keys whose items may be of several kinds.
_MIXED = {"evaluation.noise_grid.levels": "a list of 'all' and of lists of levels, such as [all,[p2],[p3,p4]]"}

_BOUNDS = {
    "greater_than_equal": ">= {ge}",
    "greater_than": "> {gt}",
    "less_than_equal": "<= {le}",
    "less_than": "< {lt}",
}


def explain_validation_errors(
    errors: list[ErrorDetails], composed: Mapping[str, Any], schema: type[BaseModel]
) -> list[str]:
    """Return one line for each invalid key.

    The members of a union ("all", or a list of levels) share a line, for example "must be 'all' or a list".

    Args:
        errors: errors of pydantic.
        composed: the configuration that was validated.
        schema: the model that validated it.
    """
    by_key: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        by_key.setdefault(_dotted(error, composed), []).append(error)
    return [_line(key, found, composed, schema) for key, found in by_key.items()]


def _dotted(error: ErrorDetails, composed: Mapping[str, Any]) -> str:
    # pydantic's path also holds the tag of a discriminated union (shapes, coco_json) and the members of a union.
    # Users never typed those, so only parts that are keys of the configuration stay.
    key, node = [], composed
    for part in error["loc"]:
        is_missing = error["type"] == "missing" and part == error["loc"][-1]
        if isinstance(part, str) and isinstance(node, Mapping) and (part in node or is_missing):
            key.append(part)
            node = node.get(part, {})
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key.append("type")
    return ".".join(key)


def _line(key: str, errors: list[ErrorDetails], composed: Mapping[str, Any], schema: type[BaseModel]) -> str:
    first = errors[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] in ("missing", "union_tag_not_found"):
        return f"{key} is missing. Add to the command: +{key}=..."
    if first["type"] == "extra_forbidden":
        return f"{key} is not a key. {did_you_mean(key, _known_beside(key, composed, schema))}"
    allowed = _MIXED.get(key) or " or ".join(dict.fromkeys(_allowed(error) for error in errors))
    value: Any = reduce(getitem, key.split("."), composed)
    is_misread = first["type"] == "string_type" and isinstance(value, int | float)  # 2017 and true, for Hydra
    hint = f" Put it in quotes twice: \"{key}='{str(value).lower()}'\"." if is_misread else ""
    return f"{key} must be {allowed}, got {'null' if value is None else repr(value)}.{hint}"


def _allowed(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    is_item = isinstance(error["loc"][-1], int)
    if kind in _BOUNDS:
        bound = _BOUNDS[kind].format(**context).removesuffix(".0")
        return f"a list of values {bound}" if is_item else bound
    if kind == "too_short":
        return "a list with at least one value"
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "union_tag_invalid":
        return str(context["expected_tags"]).replace(", ", " or ")
    if kind == "string_pattern_mismatch":
        return PATTERNS[context["pattern"]]
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters long"
    allowed = _TYPES.get(kind, error["msg"])
    return f"a list of {_ITEMS.get(allowed, allowed)}" if is_item else allowed


def _known_beside(key: str, composed: Mapping[str, Any], schema: type[BaseModel]) -> list[str]:
    """Return the keys that the schema allows beside an unknown one."""
    parent, _, _ = key.rpartition(".")
    group: Any = schema
    for part in parent.split(".") if parent else []:
        group = group.model_fields[part].annotation
        if part == "dataset":
            group = DATASETS[composed["dataset"]["type"]]
    return [f"{parent}.{name}" if parent else name for name in group.model_fields]
