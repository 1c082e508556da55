"""One image through one model, without and with noise: the features of both, caught by hooks, and the detections."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import read_image
from detectron2.structures import Instances
from detectron2.utils.env import seed_all_rng
from numpy.typing import NDArray
from torch import Tensor, nn

from ablation.config.noise import NoiseConfig
from ablation.config.schemas import RunConfig
from ablation.data.dataset import Dataset
from ablation.data.loaders import Mapper, register
from ablation.models.build import bottom_up, build_detector, noise_levels
from ablation.models.injection import Injection
from ablation.models.weights import load_weights
from ablation.records.errors import DataError
from ablation.records.schema import LevelTelemetry

Map = NDArray[np.float32]


@dataclass(frozen=True)
class LevelView:
    """The features of one level before and after: rms over the channels at each position, in feature units.

    shape: (C, H, W), padding left out; clean, noisy, difference: H×W, the last of noisy - clean.
    telemetry: what the noise did to this level itself. Where a stage below has noise too, noisy holds what was
    inherited from it, and telemetry does not.
    """

    level: str
    shape: tuple[int, int, int]
    clean: Map
    noisy: Map
    difference: Map
    telemetry: LevelTelemetry


@dataclass(frozen=True)
class Comparison:
    """clean, noisy: detections in pixels of the original image, on the CPU; levels: those that had noise."""

    clean: Instances
    noisy: Instances
    levels: tuple[LevelView, ...]


@dataclass(frozen=True)
class Observation:
    """What there is to see. image: H×W×3 uint8, RGB; name: of its file; classes: names by class number."""

    image: NDArray[np.uint8]
    name: str
    classes: tuple[str, ...]
    comparison: Comparison


def observe(config: RunConfig, dataset: Dataset, file: Path | None = None) -> Observation:
    """Build the model of a configuration and show it an image, by default the first with objects of the test split.

    An image of the split meets the noise that an evaluation gives it; a file, one drawn from its own name.

    Raises:
        AblationError: the image, the weights or the data cannot be read, or the noise never acts.
    """
    dataset.prepare()
    detector = build_detector(config, dataset)
    name = register(dataset.split("test"))
    entry = _first_with_objects(name) if file is None else {"file_name": str(file), "image_id": file.name}
    image, inputs = _read(detector.mapper(name, augmented=False, annotated=False), entry)
    torch.set_num_threads(config.sweep.threads)
    seed_all_rng(config.seed)  # layers that no weights fit start as those of a training with this seed
    model = detector.build()
    load_weights(model, detector.weights, allow_pickle=config.model.allow_pickle)
    comparison = compare(model.eval(), inputs, config.noise)
    classes = tuple(name for _, name in dataset.split("train").summary.categories)
    return Observation(image, Path(entry["file_name"]).name, classes, comparison)


def compare(model: nn.Module, inputs: Mapping[str, Any], noise: NoiseConfig) -> Comparison:
    """Run a model in evaluation mode on one mapped image, first clean, then under its evaluation noise.

    Raises:
        NoiseNotApplied: some level was never perturbed.
    """
    with torch.no_grad():
        with capture_features(model, noise) as clean:
            before = model([inputs])[0]["instances"]
        # Hooks act in the order of their registration: those that look come after those that perturb.
        with Injection(model, noise, phase="eval") as injection, capture_features(model, noise) as noisy:
            after = model([inputs])[0]["instances"]
    injection.check_applied()
    telemetry, size = injection.telemetry(), inputs["image"].shape[-2:]
    levels = noise_levels(model)
    order = [level for level in (*levels.outputs, *levels.stages) if level in telemetry]
    views = (_view(level, clean.of(level, size), noisy.of(level, size), telemetry[level]) for level in order)
    return Comparison(before.to("cpu"), after.to("cpu"), tuple(views))


@dataclass
class CapturedFeatures:
    """features: N×C×H×W by level, of the last forward pass; padded: height and width of its input in pixels."""

    features: dict[str, Tensor] = field(default_factory=dict)
    padded: tuple[int, int] = (0, 0)

    def of(self, level: str, size: tuple[int, int]) -> Tensor:
        """C×H×W float32 on the CPU: the first image's features, cropped to its size of height and width in pixels."""
        x = self.features[level]
        height, width = (math.ceil(s * f / p) for s, f, p in zip(size, x.shape[-2:], self.padded, strict=True))
        return x[0, :, :height, :width].float().cpu()


@contextlib.contextmanager
def capture_features(model: Any, noise: NoiseConfig) -> Iterator[CapturedFeatures]:
    """Every level's features where the noise acts on them, caught in each forward pass inside the block."""
    found = CapturedFeatures()
    handles = [model.backbone.register_forward_pre_hook(partial(_keep_padded, found))]
    for level in noise_levels(model).stages:
        stage = getattr(bottom_up(model), level)
        handles.append(stage.register_forward_hook(partial(_keep_stage, found, level)))
    if noise.destination == "both":
        handles.append(model.backbone.register_forward_hook(partial(_keep_outputs, found)))
    else:
        consumer = model.proposal_generator if noise.destination == "rpn" else model.roi_heads
        handles.append(consumer.register_forward_pre_hook(partial(_keep_received, found)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keep_padded(found: CapturedFeatures, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
    found.padded = tuple(arguments[0].shape[-2:])


def _keep_stage(
    found: CapturedFeatures, level: str, _module: nn.Module, _arguments: tuple[Any, ...], output: Tensor
) -> None:
    found.features[level] = output


def _keep_outputs(
    found: CapturedFeatures, _module: nn.Module, _arguments: tuple[Any, ...], output: Mapping[str, Tensor]
) -> None:
    found.features.update(output)


def _keep_received(found: CapturedFeatures, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
    found.features.update(arguments[1])  # both consumers of detectron2 take (images, features, ...)


def _view(level: str, clean: Tensor, noisy: Tensor, telemetry: LevelTelemetry) -> LevelView:
    channels, height, width = clean.shape
    before, after, difference = (_channel_rms(x) for x in (clean, noisy, noisy - clean))
    return LevelView(level, (channels, height, width), before, after, difference, telemetry)


def _channel_rms(x: Tensor) -> Map:
    rms: Map = x.square().mean(dim=0).sqrt().numpy()
    return rms


def _first_with_objects(name: str) -> dict[str, Any]:
    entries: list[dict[str, Any]] = DatasetCatalog.get(name)
    return next((entry for entry in entries if entry["annotations"]), entries[0])


def _read(mapper: Mapper, entry: Mapping[str, Any]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The image as it is, H×W×3 RGB, and as the model takes it."""
    try:
        image: NDArray[np.uint8] = read_image(entry["file_name"], "RGB")
        return image, mapper(dict(entry))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{entry['file_name']} must be an image that can be read: {error}. Give another one with --image."
        ) from error
