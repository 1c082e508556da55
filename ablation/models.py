"""From `model` to a detectron2 config and a detectron2 model, through detectron2's own builders."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from safetensors.torch import load_file
from torch import nn

from ablation.config import ModelConfig, RunConfig, ScheduleConfig, flattened
from ablation.datasets.annotations import Contents
from ablation.errors import ConfigError, RunError
from ablation.levels import Levels
from ablation.locate import config_file, needs_unsafe_loader, weights_file

logger = logging.getLogger(__name__)


def detectron2_config(config: RunConfig, contents: Contents) -> CfgNode:
    """The detectron2 config of a run: the model's file and overrides, fitted to the data and the schedule.

    Raises:
        ConfigError: an override that the config does not know.
    """
    cfg = _file_config(config.model)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(contents.categories)
    cfg.MODEL.RETINANET.NUM_CLASSES = len(contents.categories)
    if cfg.MODEL.MASK_ON and not contents.has_masks:
        logger.warning("The training data have boxes only: the mask head is left out (MODEL.MASK_ON=False).")
        cfg.MODEL.MASK_ON = False
    cfg.INPUT.MASK_FORMAT = "bitmask" if contents.has_rle else cfg.INPUT.MASK_FORMAT
    cfg.SEED = config.seed
    cfg.MODEL.DEVICE = device(config.sweep.device)
    cfg.DATALOADER.NUM_WORKERS = config.sweep.data_workers
    cfg.MODEL.WEIGHTS = str(weights_file(config.model.weights) or config.model.weights)
    _apply_schedule(cfg, config.schedule)
    cfg.freeze()
    return cfg


def build(cfg: CfgNode) -> nn.Module:
    """An untrained model; its initial weights depend on torch's global seed alone.

    Raises:
        ConfigError: detectron2 cannot build what the config describes.
    """
    try:
        model: nn.Module = build_model(cfg)
    except (KeyError, AssertionError, ValueError, AttributeError, ImportError) as error:
        raise ConfigError(
            f"detectron2 cannot build this model: {type(error).__name__}: {error}. Check model.config and "
            "model.overrides."
        ) from error
    return model


def load_weights(model: nn.Module, path: str) -> None:
    """Start from a checkpoint as detectron2 does: layers that are missing or of another shape keep their init.

    Raises:
        RunError: no layer fits.
    """
    if not path:
        return
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    _Checkpointer(model).load(path)
    if all(torch.equal(p, before[name]) for name, p in model.named_parameters()):
        raise RunError(
            f"model.weights: no layer of {path} fits this model. Give weights of the same architecture, or '' for none."
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
    """The levels of the model that a `model` group describes; built without memory for its weights."""
    cfg = _file_config(ModelConfig(**model))
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return noise_levels(build(cfg))


def _file_config(model: ModelConfig) -> CfgNode:
    cfg = get_cfg()
    path = config_file(model.config)
    try:
        cfg.merge_from_file(str(path), allow_unsafe=needs_unsafe_loader(path))
        for key, value in flattened(model.overrides).items():
            cfg.merge_from_list([key, value])
    except (KeyError, AssertionError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} with model.overrides={model.overrides} is refused: {error}.") from error
    return cfg


def _apply_schedule(cfg: CfgNode, schedule: ScheduleConfig) -> None:
    solver = cfg.SOLVER
    if schedule.batch_size is not None:
        # The linear rule (Goyal et al., arXiv 1706.02677): the rate grows with the batch.
        solver.BASE_LR *= schedule.batch_size / solver.IMS_PER_BATCH
        solver.IMS_PER_BATCH = schedule.batch_size
    if schedule.lr is not None:
        solver.BASE_LR = schedule.lr
    if schedule.iterations is not None:
        share = schedule.iterations / solver.MAX_ITER
        solver.STEPS = tuple(round(step * share) for step in solver.STEPS)
        solver.WARMUP_ITERS = round(solver.WARMUP_ITERS * share)
        solver.MAX_ITER = schedule.iterations


def device(name: str) -> str:
    """cpu or cuda: what `sweep.device` stands for on this machine."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


class _Checkpointer(DetectionCheckpointer):  # type: ignore[misc]
    """Reads safetensors too, and never lets a .pth file execute code."""

    def _load_file(self, filename: str) -> dict[str, Any]:
        if filename.endswith(".safetensors"):
            return {"model": load_file(filename)}
        loaded: dict[str, Any] = super()._load_file(filename)
        return loaded

    def _torch_load(self, f: str) -> dict[str, Any]:
        loaded: dict[str, Any] = torch.load(f, map_location="cpu", weights_only=True)
        return loaded
