"""Runs a model on one image without and with noise, and returns the features and the detections of both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import read_image
from detectron2.structures import Instances
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ablation.config.noise import NoiseConfig
from ablation.config.schemas import RunConfig
from ablation.data.dataset import Dataset
from ablation.data.images import describe_error
from ablation.data.loaders import register
from ablation.models.build import build_detector, load_pretrained
from ablation.models.hooks import FeatureHooks, find_levels
from ablation.models.injection import Injection
from ablation.records.errors import DataError
from ablation.records.schema import LevelTelemetry

Map = NDArray[np.float32]


@dataclass(frozen=True)
class LevelView:
    """The features of one level as maps: rms over the channels at each position, in feature units.

    Attributes:
        level: Its name.
        shape: (C, H, W), without padding.
        clean: H×W, without noise.
        noisy: H×W, with noise, also with that which a stage below passes on.
        difference: H×W, of noisy - clean.
        telemetry: Of the noise on this level alone.
    """

    level: str
    shape: tuple[int, ...]
    clean: Map
    noisy: Map
    difference: Map
    telemetry: LevelTelemetry


@dataclass(frozen=True)
class Comparison:
    """Detections in pixels of the original image, on the CPU, and the levels that had noise."""

    clean: Instances
    noisy: Instances
    levels: tuple[LevelView, ...]


@dataclass(frozen=True)
class Observation:
    """An image with a model's features and detections, with and without noise.

    Attributes:
        image: H×W×3 uint8, RGB.
        name: Of its file.
        classes: Names by class number.
        comparison: Of the passes without and with noise.
    """

    image: NDArray[np.uint8]
    name: str
    classes: tuple[str, ...]
    comparison: Comparison


def observe(config: RunConfig, dataset: Dataset, file: Path | None = None) -> Observation:
    """Build the model of a configuration and run it on an image.

    Args:
        config: Its noise acts in evaluation.
        file: The image; by default the first with objects of the test split. An image of the split has the noise that
            an evaluation gives it; for a file the noise is drawn from its name.

    Raises:
        AblationError: The image, the weights or the data cannot be read, or the noise never acts.
    """
    dataset.prepare()
    detector = build_detector(config, dataset)
    name = register(dataset.split("test"))
    if file is None:
        # An image with objects shows more; a split may hold images without any.
        entries: list[dict[str, Any]] = DatasetCatalog.get(name)
        entry = next((entry for entry in entries if entry["annotations"]), entries[0])
    else:
        entry = {"file_name": str(file), "image_id": file.name}
    mapper = detector.mapper(name, augmented=False, annotated=False)
    try:
        image, inputs = read_image(entry["file_name"], "RGB"), mapper(dict(entry))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise DataError(
            f"{entry['file_name']} must be an image that can be read: {describe_error(error)}. Give another one with "
            "--image."
        ) from error
    torch.set_num_threads(config.sweep.threads)
    model, _ = load_pretrained(detector, config)
    comparison = compare(model.eval(), inputs, config.noise)
    classes = tuple(name for _, name in dataset.split("train").summary.categories)
    return Observation(image, Path(entry["file_name"]).name, classes, comparison)


def compare(model: nn.Module, inputs: Mapping[str, Any], noise: NoiseConfig) -> Comparison:
    """Run a model in evaluation mode on one mapped image, first without noise, then with its evaluation noise.

    Raises:
        NoiseNotApplied: Some level was never perturbed.
    """
    with torch.no_grad():
        with capture_features(model, noise) as clean:
            before = model([inputs])[0]["instances"]
        # Hooks act in the order of their registration: the inner block captures what the outer has perturbed.
        with Injection(model, noise, phase="eval") as injection, capture_features(model, noise) as noisy:
            after = model([inputs])[0]["instances"]
    injection.check_applied()
    levels = find_levels(model).select(noise)
    views = []
    for level in (*levels.outputs, *levels.stages):
        maps = (clean[level], noisy[level], noisy[level] - clean[level])
        before_rms, after_rms, difference_rms = (x.square().mean(dim=0).sqrt().numpy() for x in maps)
        shape, telemetry = tuple(clean[level].shape), injection.telemetry()[level]
        views.append(LevelView(level, shape, before_rms, after_rms, difference_rms, telemetry))
    return Comparison(before.to("cpu"), after.to("cpu"), tuple(views))


@contextlib.contextmanager
def capture_features(model: nn.Module, noise: NoiseConfig) -> Iterator[dict[str, Tensor]]:
    """Collect the features of each level that a noise acts on, in each forward pass inside the block.

    Yields:
        By level the features of the first image, C×H×W float32 on the CPU, without padding.
    """
    features: dict[str, Tensor] = {}

    def keep(level: str, x: Tensor) -> Tensor:
        height, width = hooks.extent(0, x)
        features[level] = x[0, :, :height, :width].float().cpu()
        return x

    hooks = FeatureHooks(model, find_levels(model).select(noise), noise.destination, keep)
    with hooks:
        yield features
