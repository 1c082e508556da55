"""What a COCO segmentation must be: polygons, or run lengths of the whole image."""

from __future__ import annotations

from typing import Any

from ablation.data.coco.values import Refusal, are_finite, is_integer, kind_of, shown


def check_segmentation(segmentation: object, image: dict[str, Any], where: str, refuse: Refusal) -> None:
    """Refuse what pycocotools could not read, or would read as other pixels; none at all is allowed.

    Raises:
        DataError: naming the place and what is wrong there.
    """
    if segmentation is None or segmentation == []:
        return
    if isinstance(segmentation, dict):
        _check_rle(segmentation, image, where, refuse)
        return
    if not isinstance(segmentation, list):
        raise refuse(where, f"must have polygons or RLE as segmentation, got {kind_of(segmentation)}")
    for polygon in segmentation:
        if not (isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0):
            raise refuse(where, "has a polygon that is not a list of at least three x, y pairs")
        if not are_finite(polygon):
            raise refuse(where, "has a polygon with a value that is not a finite number")


def _check_rle(rle: dict[str, Any], image: dict[str, Any], where: str, refuse: Refusal) -> None:
    counts, size = rle.get("counts"), rle.get("size")
    expected = [image["height"], image["width"]]
    if size != expected:
        raise refuse(where, f"has an RLE of size {shown(size)}, but its image has [height, width] {expected}")
    if isinstance(counts, list):
        # decoding trusts the runs; a wrong sum reads or leaves pixels that are not the image's
        if not all(is_integer(v) and v >= 0 for v in counts) or sum(counts) != expected[0] * expected[1]:
            raise refuse(where, f"has RLE counts that are not whole numbers >= 0 of sum {expected[0] * expected[1]}")
    elif not (isinstance(counts, str) and counts and counts.isascii()):
        raise refuse(where, f"must have RLE counts as a string or a list of runs, got {kind_of(counts)}")
    elif not covers(counts, expected[0] * expected[1]):
        raise refuse(where, f"has RLE counts that do not decode to {expected[0] * expected[1]} pixels")


def covers(counts: str, pixels: int) -> bool:
    """Whether COCO's compressed run lengths are whole and sum to the pixels of the image.

    pycocotools would decode anything, past the end of its memory. Each run is a number in groups of five bits, lowest
    first, in characters from "0" on whose sixth bit says that there are more; from the fourth run on it is the
    difference to the run before the previous one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > 25:
            return False
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            return False
        value = shift = 0
    return shift == 0 and sum(runs) == pixels
