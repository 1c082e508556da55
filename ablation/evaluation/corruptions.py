"""Corrupted test images: the benchmark of Michaelis et al. (arXiv 1907.07484) by its own package.

`imagecorruptions` is imported where an image is corrupted, and not before: it takes two seconds and compiles.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import tempfile
from collections.abc import Iterator
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
_LEAST_SIDE = 32  # pixels, below which the package refuses an image

Pixels = NDArray[np.uint8]


def check_corruptions(config: RunConfig, dataset: Dataset) -> None:
    """Refuse corruptions that this environment or these test images do not allow. Loads nothing heavy.

    Raises:
        ConfigError: the package is not installed.
        DataError: test images are too small, or none are there.
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
    source, kept = selection.source, selection.ids
    entries = [entry for key, entry in source.summary.entries.items() if key in kept]
    if small := [entry.name for entry in entries if min(entry.width, entry.height) < _LEAST_SIDE]:
        raise DataError(
            f"evaluation.corruptions needs images of at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels; {len(small)} of "
            f"{source.annotations} are smaller, the first is {small[0]!a}. Leave them out, or the corruptions."
        )


def corrupt(image: Pixels, corruption: str, severity: int, image_id: int) -> Pixels:
    """The package's own corruption, drawn from a seed of the image, the corruption and the severity alone.

    image: H×W×3 RGB; severity: 1 to 5. The global generator of NumPy is left as it was.
    """
    import imagecorruptions

    seed = _seed(image_id, corruption, severity)
    # Two of the functions draw from a generator of their own.
    takes_seed = "seed" in inspect.signature(imagecorruptions.corruption_dict[corruption]).parameters
    own = {"seed": seed} if takes_seed else {}
    with _seeded(seed), contextlib.redirect_stdout(None):  # it prints about odd sizes, and copes with them
        found: Pixels = imagecorruptions.corrupt(image, severity=severity, corruption_name=corruption, **own)
    return found


class CorruptedMapper:
    """A mapper that is shown corrupted images, at the size of the file, before it resizes them.

    The image goes through a file without loss, so that any mapper reads it in the colours that it is used to.
    """

    def __init__(self, mapper: Mapper, corruption: str, severity: int) -> None:
        self._mapper, self._corruption, self._severity = mapper, corruption, severity

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Detectron2's input for an entry of its catalog, of the corrupted image."""
        from detectron2.data.detection_utils import read_image  # loads torch

        image = read_image(entry["file_name"], "RGB")
        with tempfile.NamedTemporaryFile(suffix=".bmp") as file:
            Image.fromarray(corrupt(image, self._corruption, self._severity, entry["image_id"])).save(file, "BMP")
            file.flush()
            return self._mapper(entry | {"file_name": file.name}) | {"file_name": entry["file_name"]}


def _seed(image_id: int, corruption: str, severity: int) -> int:
    digest = hashlib.sha256(f"{image_id}/{corruption}/{severity}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
