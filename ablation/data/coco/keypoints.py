"""Checks of COCO keypoints, and their names and mirror pairs."""

from __future__ import annotations

from typing import Any

from ablation.data.coco.values import FARTHEST, FormatError, are_finite, format_json


def check_keypoints(keypoints: object, expected: int) -> int:
    """Return the number of keypoints of an object. `expected` is 0 if no number is known yet.

    Raises:
        FormatError: They are not valid COCO, or of another number.
    """
    if not (isinstance(keypoints, list) and len(keypoints) % 3 == 0 and are_finite(keypoints)):
        raise FormatError(f"must have keypoints as a list of x, y and visibility for each, all below {FARTHEST:,}")
    if expected and len(keypoints) != 3 * expected:
        raise FormatError(f"has {len(keypoints) // 3} keypoints, where {expected} are expected")
    if not set(keypoints[2::3]) <= {0, 1, 2}:
        raise FormatError("has a keypoint whose visibility is not 0, 1 or 2")
    return len(keypoints) // 3


def check_keypoint_names(category: dict[str, Any]) -> None:
    """Check the names of a category's keypoints, and their mirror pairs.

    Raises:
        FormatError: They are not valid COCO.
    """
    names = category.get("keypoints") or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)):
        raise FormatError(f"must have keypoints as a list of distinct names, got {format_json(names)}")
    flips = category.get("keypoint_flip_map") or []
    if not (isinstance(flips, list) and all(isinstance(f, list) and len(f) == 2 for f in flips)):
        raise FormatError(f"must have a keypoint_flip_map as a list of pairs of keypoints, got {format_json(flips)}")
    if unknown := [name for pair in flips for name in pair if name not in names]:
        raise FormatError(f"has a keypoint_flip_map with {format_json(unknown[0])}, which is not one of its keypoints")


def keypoint_names(categories: list[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return names and mirror pairs of the first category that has keypoints.

    Without a keypoint_flip_map, which is detectron2's own key, names with left and right are paired.
    """
    category = next((c for c in categories if c.get("keypoints")), {})
    names = tuple(category.get("keypoints", ()))
    twins = [(name, name.replace("left", "right")) for name in names if "left" in name]
    flips = category.get("keypoint_flip_map") or [pair for pair in twins if pair[1] in names]
    return names, tuple((left, right) for left, right in flips)
