"""Checks of COCO segmentations: polygons, or run lengths of the whole image."""

from __future__ import annotations

from typing import Any

from ablation.data.coco.values import FARTHEST, FormatError, are_finite, format_json, is_integer, json_type


def check_segmentation(segmentation: object, image: dict[str, Any]) -> None:
    """Check that pycocotools reads the segmentation of an object as it is meant; none at all is allowed.

    Raises:
        FormatError: It is not valid COCO, or does not fit its image.
    """
    if segmentation is None or segmentation == []:
        return
    if isinstance(segmentation, dict):
        _check_rle(segmentation, image)
        return
    if not isinstance(segmentation, list):
        raise FormatError(f"must have polygons or RLE as segmentation, got {json_type(segmentation)}")
    for polygon in segmentation:
        if not (isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0):
            raise FormatError("has a polygon that is not a list of at least three x, y pairs")
        if not are_finite(polygon):
            raise FormatError(f"has a polygon with a value that is not a number between -{FARTHEST:,} and {FARTHEST:,}")


def _check_rle(rle: dict[str, Any], image: dict[str, Any]) -> None:
    counts, size = rle.get("counts"), rle.get("size")
    expected = [image["height"], image["width"]]
    pixels = expected[0] * expected[1]
    if size != expected:
        raise FormatError(f"has an RLE of size {format_json(size)}, but its image has [height, width] {expected}")
    if isinstance(counts, list):
        # pycocotools trusts the runs when it decodes: a wrong sum reads or leaves pixels of other memory.
        if not all(is_integer(v) and v >= 0 for v in counts) or sum(counts) != pixels:
            raise FormatError(f"has RLE counts that are not whole numbers >= 0 of sum {pixels}")
    elif not (isinstance(counts, str) and counts and counts.isascii()):
        raise FormatError(f"must have RLE counts as a string or a list of runs, got {json_type(counts)}")
    elif not covers(counts, pixels):
        raise FormatError(f"has RLE counts that do not decode to {pixels} pixels")


def covers(counts: str, pixels: int) -> bool:
    """Return True if COCO's compressed run lengths are complete and sum to the number of pixels.

    pycocotools would decode anything, past the end of its memory. Each run is a number in groups of five bits, lowest
    first, in characters from "0" on whose sixth bit says that there are more. From the fourth run on it is the
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
        if bits & 16:  # the sign
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            return False
        value = shift = 0
    return shift == 0 and sum(runs) == pixels
