"""From `model` to a detectron2 model: its config of either kind, its levels, its device."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.env import seed_all_rng
from torch import nn

from ablation.config.model import ModelConfig
from ablation.config.schemas import RunConfig
from ablation.data import semantic
from ablation.data.coco.annotations import AnnotationSummary
from ablation.data.splits import SPLITS, locate
from ablation.models import lazy, yacs
from ablation.models.detector import Detector, SemanticHead
from ablation.models.hooks import find_levels
from ablation.models.levels import Levels
from ablation.models.locate import config_file, weights_file
from ablation.models.weights import load_weights
from ablation.records.errors import ConfigError
from ablation.records.schema import WeightsReport


def build_detector(config: RunConfig, contents: AnnotationSummary) -> Detector:
    """The detector of a run: the model's config and overrides, fitted to the data and the schedule.

    Raises:
        ConfigError: a key that the config does not have, a module that cannot be imported, data that do not suit.
    """
    _import(config.model.imports)
    path = config_file(config.model.config)
    weights = str(weights_file(config.model.weights) or config.model.weights)
    where, workers = resolve_device(config.sweep.device), config.sweep.data_workers
    if path.suffix == ".py":
        cfg = lazy.file_config(path, config.model.overrides)
        lazy.adapt_config(cfg, contents, config.schedule)
        clip = config.schedule.clip_norm
        found: Detector = lazy.LazyDetector(cfg, device=where, weights=weights, workers=workers, clip_norm=clip)
    else:
        node = yacs.file_config(path, config.model.overrides)
        yacs.adapt_config(node, contents, config.schedule)
        node.SEED = config.seed
        node.MODEL.DEVICE, node.MODEL.WEIGHTS, node.DATALOADER.NUM_WORKERS = where, weights, workers
        node.freeze()
        found = yacs.YacsDetector(node)
    if found.has_keypoints and not contents.keypoints:
        raise ConfigError(
            f"model={config.model.name} predicts keypoints, and the category of {config.dataset.name} names none. "
            "Give data with keypoints, or another model."
        )
    if found.has_keypoints and not contents.has_keypoints:
        raise ConfigError(
            f"model={config.model.name} predicts keypoints, and not all objects of {config.dataset.name} have them. "
            "Give each its keypoints, zeros where none is labelled, or another model."
        )
    try:
        config.schedule.share(found.loader_config.batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if found.semantic is not None:
        _check_semantic(config, found, found.semantic)
    return found


def _check_semantic(config: RunConfig, found: Detector, head: SemanticHead) -> None:
    """Refuse data that a head for stuff cannot learn from or be measured on."""
    model, data = config.model.name, config.dataset.name
    if head.needs_masks and not found.has_masks:
        raise ConfigError(
            f"model={model} puts masks of objects above the stuff, and {data} has objects without a mask. Give masks "
            "of all objects, or another model."
        )
    for name in SPLITS:
        split = locate(config.dataset, name)
        if split.sem_seg is None:
            raise ConfigError(
                f"model={model} learns semantic labels, and {data} has none. Give dataset=coco_json with "
                "dataset.train_sem_seg and dataset.test_sem_seg, dataset=coco with dataset.sem_seg=true, or another "
                "model."
            )
        values = [value for value in semantic.scan_labels(split).values if value != head.ignore_value]
        if values and max(values) >= head.classes:
            raise ConfigError(
                f"model={model} labels {head.classes} classes, 0 to {head.classes - 1} (and {head.ignore_value} for "
                f"none), and {split.sem_seg} holds {max(values)}. Set +model.overrides.MODEL.SEM_SEG_HEAD.NUM_CLASSES="
                f"{max(values) + 1} (of a LazyConfig: model.sem_seg_head.num_classes), or mend the labels."
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
    """Build the model of a run and load the weights that its training saved."""
    model = detector.build()
    load_weights(model, str(weights))
    return model


def probe_levels(model: Mapping[str, Any]) -> Levels:
    """The levels of the model that a `model` group describes; without its weights, and of YAML without memory."""
    group = ModelConfig(**model)
    _import(group.imports)
    path = config_file(group.config)
    if path.suffix == ".py":
        cfg = lazy.file_config(path, group.overrides)
        return find_levels(lazy.LazyDetector(cfg, device="cpu", weights="", workers=0, clip_norm=None).build())
    return find_levels(yacs.untrained(yacs.file_config(path, group.overrides)))


def resolve_device(name: str) -> str:
    """cpu or cuda: what `sweep.device` stands for on this machine."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _import(names: Sequence[str]) -> None:
    """Run the user's modules, which register backbones, heads and meta-architectures with detectron2."""
    here = str(Path.cwd())
    if names and here not in sys.path:
        sys.path.insert(0, here)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module of the user's may raise anything
            raise ConfigError(f"model.imports: {name} cannot be imported: {type(error).__name__}: {error}.") from error
