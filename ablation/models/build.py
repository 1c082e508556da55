"""Builds the detector of a run from its configuration, and loads its model."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.env import seed_all_rng
from torch import nn

from ablation.config.model import ModelConfig
from ablation.config.schemas import RunConfig, SweepConfig
from ablation.data.dataset import Dataset
from ablation.data.splits import SPLITS
from ablation.models import lazy, yacs
from ablation.models.detector import Detector, SemanticHead
from ablation.models.hooks import find_levels
from ablation.models.levels import ProbedModel
from ablation.models.locate import config_file, weights_file
from ablation.models.weights import load_own_weights, load_weights
from ablation.records.errors import ConfigError
from ablation.records.schema import WeightsReport


def build_detector(config: RunConfig, dataset: Dataset) -> Detector:
    """Return the detector of a run: the model's config and overrides, adapted to the data and the schedule.

    Args:
        config: Of the run.
        dataset: The data set that the configuration describes.

    Raises:
        ConfigError: A key is unknown to the config, a module cannot be imported, or the data do not suit the model.
    """
    contents = dataset.split("train").summary
    _import_modules(config.model.imports)
    path = config_file(config.model.config)
    weights = str(weights_file(config.model.weights) or config.model.weights)
    device, workers = resolve_device(config.sweep.device), config.sweep.data_workers
    if path.suffix == ".py":
        cfg = lazy.load_config(path, config.model.overrides)
        lazy.adapt_config(cfg, contents, config.schedule)
        clip = config.schedule.clip_norm
        detector: Detector = lazy.LazyDetector(cfg, device=device, weights=weights, workers=workers, clip_norm=clip)
    else:
        node = yacs.load_config(path, config.model.overrides)
        yacs.adapt_config(node, contents, config.schedule)
        node.SEED = config.seed
        node.MODEL.DEVICE, node.MODEL.WEIGHTS, node.DATALOADER.NUM_WORKERS = device, weights, workers
        node.freeze()
        detector = yacs.YacsDetector(node)
    if detector.has_keypoints and not contents.keypoints:
        raise ConfigError(
            f"model={config.model.name} predicts keypoints, and the category of {dataset.name} names none. "
            "Give data with keypoints, or another model."
        )
    if detector.has_keypoints and not contents.has_keypoints:
        raise ConfigError(
            f"model={config.model.name} predicts keypoints, and not all objects of {dataset.name} have them. "
            "Give each its keypoints, zeros where none is labelled, or another model."
        )
    try:
        config.schedule.share(detector.loader_config.batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if detector.semantic is not None:
        _check_semantic(config.model.name, dataset, detector, detector.semantic)
    return detector


def _check_semantic(model: str, dataset: Dataset, detector: Detector, head: SemanticHead) -> None:
    """Refuse data that a semantic head cannot be trained or evaluated on."""
    data = dataset.name
    if head.needs_masks and not detector.has_masks:
        raise ConfigError(
            f"model={model} puts masks of objects above the stuff, and {data} has objects without a mask. Give masks "
            "of all objects, or another model."
        )
    for name in SPLITS:
        split = dataset.split(name)
        if split.sem_seg is None:
            raise ConfigError(
                f"model={model} learns semantic labels, and {data} has none. Give dataset=coco_json with "
                "dataset.train_sem_seg and dataset.test_sem_seg, dataset=coco with dataset.sem_seg=true, or another "
                "model."
            )
        values = [value for value in split.label_scan.values if value != head.ignore_value]
        if values and max(values) >= head.classes:
            raise ConfigError(
                f"model={model} labels {head.classes} classes, 0 to {head.classes - 1} (and {head.ignore_value} for "
                f"none), and {split.sem_seg} holds {max(values)}. Set +model.overrides.MODEL.SEM_SEG_HEAD.NUM_CLASSES="
                f"{max(values) + 1} (of a LazyConfig: model.sem_seg_head.num_classes), or fix the labels."
            )


def load_pretrained(detector: Detector, config: RunConfig) -> tuple[nn.Module, WeightsReport | None]:
    """Build the model of a run and load `model.weights` into it.

    Layers that no weights fit are initialised as in a training with this seed.

    Raises:
        RunError: The weights do not fit, or hold code.
    """
    seed_all_rng(config.seed)
    model = detector.build()
    return model, load_weights(model, detector.weights, allow_pickle=config.model.allow_pickle)


def load_trained(detector: Detector, weights: Path) -> nn.Module:
    """Build the model of a run and load the weights that its training saved.

    Raises:
        RunError: They are damaged or of another model.
    """
    model = detector.build()
    load_own_weights(model, weights)
    return model


def probe_model(model: Mapping[str, Any]) -> ProbedModel:
    """Build what a `model` group describes, with its optimizer, and load its weights if they are a local file.

    Raises:
        AblationError: One of these is refused.
    """
    group = ModelConfig(**model)
    _import_modules(group.imports)
    path = config_file(group.config)
    detector: Detector
    if path.suffix == ".py":
        cfg = lazy.load_config(path, group.overrides)
        detector = lazy.LazyDetector(cfg, device="cpu", weights="", workers=0, clip_norm=None)
        built = detector.build()
    else:
        node = yacs.load_config(path, group.overrides)
        node.MODEL.DEVICE = "meta"  # allocates no memory for the weights
        detector = yacs.YacsDetector(node)
        with torch.device("meta"):
            built = detector.build()
    detector.check_solver(built)
    if weights := weights_file(group.weights):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says for each array that a meta device holds none
            load_weights(built, str(weights), allow_pickle=group.allow_pickle)
    return ProbedModel(find_levels(built), detector.iterations, detector.loader_config.batch_size)


def configure_torch(sweep: SweepConfig) -> None:
    """Set the number of threads, and allow, warn about or refuse (off, warn, strict) nondeterministic CUDA kernels."""
    torch.set_num_threads(sweep.threads)
    mode = sweep.determinism
    if mode != "off":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode != "off", warn_only=mode == "warn")
    torch.backends.cudnn.benchmark = False


def resolve_device(name: str) -> str:
    """Return cpu or cuda for `sweep.device`, which may be auto.

    Raises:
        ConfigError: it is cuda, and torch finds no GPU.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("sweep.device=cuda needs a GPU, and torch finds none. Give sweep.device=auto or cpu.")
    return name


def _import_modules(names: Sequence[str]) -> None:
    """Import the user's modules, which register backbones, heads and meta-architectures with detectron2."""
    folder = str(Path.cwd())
    if names and folder not in sys.path:
        sys.path.insert(0, folder)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a user's module may raise anything
            raise ConfigError(f"model.imports: {name} cannot be imported: {type(error).__name__}: {error}.") from error
