"""Corrupted test images: the benchmark of Michaelis et al. (arXiv 1907.07484), by its own package.

`imagecorruptions` is imported only where an image is corrupted, because it compiles for two seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import tempfile
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ablation.config.schemas import RunConfig
from ablation.data.dataset import Dataset
from ablation.records.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ablation.data.loaders import Mapper

DISTRIBUTION = "imagecorruptions-imaug"  # the maintained one; `imagecorruptions` itself needs NumPy 1
_MIN_SIDE = 32  # pixels; the package refuses smaller images

Pixels = NDArray[np.uint8]


def check_corruptions(config: RunConfig, dataset: Dataset) -> None:
    """Refuse corruptions that cannot be applied here, without importing their package.

    Raises:
        ConfigError: The package is not installed.
        DataError: Test images are too small, or there are none.
    """
    if not config.evaluation.conditions():
        return
    try:
        metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"evaluation.corruptions needs the package {DISTRIBUTION}. Install it with `make setup` or "
            "`pip install ablation[corruptions]`, or leave evaluation.corruptions at []."
        ) from error
    selection = dataset.selections.get("test")
    if selection is None:
        return  # generated images are large enough
    entries = (entry for key, entry in selection.source.summary.entries.items() if key in selection.ids)
    if small := [entry.name for entry in entries if min(entry.width, entry.height) < _MIN_SIDE]:
        raise DataError(
            f"evaluation.corruptions needs images of at least {_MIN_SIDE} x {_MIN_SIDE} pixels; {len(small)} of "
            f"{selection.source.annotations} are smaller, "
            f"the first is {small[0]!a}. Leave them out, or the corruptions."
        )


def corrupt(image: Pixels, corruption: str, severity: int, image_id: int) -> Pixels:
    """Corrupt an image, with draws that depend on its id, the corruption and the severity alone.

    Args:
        image: H×W×3 RGB.
        corruption: A name of the package.
        severity: 1 to 5.
        image_id: Of the COCO data set.

    Returns:
        H×W×3 RGB. NumPy's global generator is left as it was.
    """
    import imagecorruptions

    seed = _seed(image_id, corruption, severity)
    # Two of the functions draw from a generator of their own.
    takes_seed = "seed" in inspect.signature(imagecorruptions.corruption_dict[corruption]).parameters
    arguments = {"seed": seed} if takes_seed else {}
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        with contextlib.redirect_stdout(None):  # it prints about odd sizes, which it can handle
            corrupted: Pixels = imagecorruptions.corrupt(
                image, severity=severity, corruption_name=corruption, **arguments
            )
    finally:
        np.random.set_state(state)
    return corrupted


class CorruptedMapper:
    """Corrupts images at the size of the file before a mapper resizes them.

    The corrupted image goes through a lossless file, so that any mapper reads it in its own order of colours.
    """

    def __init__(self, mapper: Mapper, corruption: str, severity: int) -> None:
        self._mapper, self._corruption, self._severity = mapper, corruption, severity

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return a model's input with the corrupted image, for an entry of detectron2's catalog."""
        from detectron2.data.detection_utils import read_image  # loads torch

        image = read_image(entry["file_name"], "RGB")
        with tempfile.NamedTemporaryFile(suffix=".bmp") as file:
            Image.fromarray(corrupt(image, self._corruption, self._severity, entry["image_id"])).save(file, "BMP")
            file.flush()
            return self._mapper(entry | {"file_name": file.name}) | {"file_name": entry["file_name"]}


def _seed(image_id: int, corruption: str, severity: int) -> int:
    digest = hashlib.sha256(f"{image_id}/{corruption}/{severity}".encode()).digest()
    return int.from_bytes(digest[:4], "little")
