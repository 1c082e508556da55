"""What COCO keypoints must be, and their names and mirror pairs."""

from __future__ import annotations

from typing import Any

from ablation.data.coco.values import Refusal, are_finite, shown


def check_keypoints(keypoints: object, points: int, where: str, refuse: Refusal) -> int:
    """How many there are; points: how many are expected, 0 where nothing says so.

    Raises:
        DataError: naming the place and what is wrong there.
    """
    if not (isinstance(keypoints, list) and len(keypoints) % 3 == 0 and are_finite(keypoints)):
        raise refuse(where, "must have keypoints as a list of x, y and visibility for each, all finite numbers")
    if points and len(keypoints) != 3 * points:
        raise refuse(where, f"has {len(keypoints) // 3} keypoints, where {points} are expected")
    if not set(keypoints[2::3]) <= {0, 1, 2}:
        raise refuse(where, "has a keypoint whose visibility is not 0, 1 or 2")
    return len(keypoints) // 3


def check_keypoint_names(category: dict[str, Any], refuse: Refusal) -> None:
    """Refuse names of keypoints, and mirror pairs of them, that a category cannot have.

    Raises:
        DataError: naming the category and what is wrong there.
    """
    where, names = f"category {category['id']}", category.get("keypoints") or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)):
        raise refuse(where, f"must have keypoints as a list of distinct names, got {shown(names)}")
    flips = category.get("keypoint_flip_map") or []
    if not (isinstance(flips, list) and all(isinstance(f, list) and len(f) == 2 for f in flips)):
        raise refuse(where, f"must have a keypoint_flip_map as a list of pairs of keypoints, got {shown(flips)}")
    if unknown := [name for pair in flips for name in pair if name not in names]:
        raise refuse(where, f"has a keypoint_flip_map with {shown(unknown[0])}, which is not one of its keypoints")


def keypoint_names(categories: list[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Names and mirror pairs of the first category that has keypoints; left_ and right_ belong together."""
    category = next((c for c in categories if c.get("keypoints")), {})
    names = tuple(category.get("keypoints", ()))
    twins = [(name, name.replace("left", "right")) for name in names if "left" in name]
    flips = category.get("keypoint_flip_map") or [pair for pair in twins if pair[1] in names]
    return names, tuple((left, right) for left, right in flips)
