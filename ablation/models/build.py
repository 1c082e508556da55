"""From `model` to a detectron2 model: its config of either kind, its levels, its device."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablation.config.model import ModelConfig
from ablation.config.schemas import RunConfig
from ablation.data.dataset import Dataset
from ablation.data.splits import SPLITS
from ablation.models import lazy, yacs
from ablation.models.detector import Detector, SemanticHead
from ablation.models.levels import Levels
from ablation.models.locate import config_file, weights_file
from ablation.records.errors import ConfigError


def build_detector(config: RunConfig, dataset: Dataset) -> Detector:
    """The detector of a run: the model's config and overrides, fitted to the data and the schedule.

    Raises:
        ConfigError: a key that the config does not have, a module that cannot be imported, data that do not suit.
    """
    contents = dataset.split("train").summary
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
            f"model={config.model.name} predicts keypoints, and the category of {dataset.name} names none. "
            "Give data with keypoints, or another model."
        )
    if found.has_keypoints and not contents.has_keypoints:
        raise ConfigError(
            f"model={config.model.name} predicts keypoints, and not all objects of {dataset.name} have them. "
            "Give each its keypoints, zeros where none is labelled, or another model."
        )
    try:
        config.schedule.share(found.feed.batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if found.semantic is not None:
        _check_semantic(config.model.name, dataset, found, found.semantic)
    return found


def _check_semantic(model: str, dataset: Dataset, found: Detector, head: SemanticHead) -> None:
    """Refuse data that a head for stuff cannot learn from or be measured on."""
    data = dataset.name
    if head.needs_masks and not found.has_masks:
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
                f"{max(values) + 1} (of a LazyConfig: model.sem_seg_head.num_classes), or mend the labels."
            )


def noise_levels(model: nn.Module) -> Levels:
    """The levels of a model, and which of them each consumer reads."""
    parts: Any = model
    outputs = tuple(parts.backbone.output_shape())
    network: Any = bottom_up(model)
    # A ResNet names all its stages; its output_shape only those that something above it reads.
    stages = getattr(network, "stage_names", None) or network.output_shape()
    below = tuple(level for level in stages if isinstance(getattr(network, level, None), nn.Module))
    consumers = (getattr(parts, name, None) for name in ("proposal_generator", "roi_heads"))
    read = (None if c is None else tuple(getattr(c, "in_features", outputs)) for c in consumers)
    return Levels(outputs, below, *read)


def bottom_up(model: nn.Module) -> nn.Module:
    """The network below a feature pyramid; the backbone itself where there is no pyramid."""
    backbone: Any = model.backbone
    network: nn.Module = getattr(backbone, "bottom_up", backbone)
    return network


def probe_levels(model: Mapping[str, Any]) -> Levels:
    """The levels of the model that a `model` group describes; without its weights, and of YAML without memory."""
    group = ModelConfig(**model)
    _import(group.imports)
    path = config_file(group.config)
    if path.suffix == ".py":
        cfg = lazy.file_config(path, group.overrides)
        return noise_levels(lazy.LazyDetector(cfg, device="cpu", weights="", workers=0, clip_norm=None).build())
    return noise_levels(yacs.untrained(yacs.file_config(path, group.overrides)))


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
