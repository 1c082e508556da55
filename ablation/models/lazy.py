"""detectron2's Python configs (LazyConfig)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import LazyCall, LazyConfig, instantiate
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import create_keypoint_hflip_indices
from detectron2.data.samplers import TrainingSampler
from detectron2.solver import LRMultiplier
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ablation.config.keys import flatten
from ablation.config.schedule import ScheduleConfig
from ablation.data.coco.annotations import AnnotationSummary
from ablation.data.loaders import LoaderConfig, Mapper, TrainItems
from ablation.models.detector import Detector, SemanticHead, with_gradient_clipping
from ablation.records.atomic import replacing
from ablation.records.errors import ConfigError, first_line

logger = logging.getLogger(__name__)

# Defaults for a config that describes a model only: file below detectron2's zoo and the name in it.
_DEFAULTS = {
    "train": ("common/train.py", "train"),
    "dataloader": ("common/data/coco.py", "dataloader"),
    "optimizer": ("common/optim.py", "SGD"),
    "lr_multiplier": ("common/coco_schedule.py", "lr_multiplier_1x"),
}
_CLASSES = ("model.num_classes", "model.head.num_classes", "model.roi_heads.num_classes")
_MASKS = ("mask_in_features", "mask_pooler", "mask_head")


class LazyDetector(Detector):
    """An instantiable config, through detectron2's `instantiate`."""

    def __init__(self, cfg: DictConfig, *, device: str, weights: str, workers: int, clip_norm: float | None) -> None:
        self.cfg = cfg
        self.iterations = cfg.train.max_iter
        self.weights = weights
        self.is_amp = cfg.train.amp.enabled
        self.has_masks = OmegaConf.select(cfg, "model.roi_heads.mask_head") is not None
        self.has_keypoints = OmegaConf.select(cfg, "model.roi_heads.keypoint_head") is not None
        head = OmegaConf.select(cfg, "model.sem_seg_head")
        is_panoptic = OmegaConf.select(cfg, "model.roi_heads") is not None
        self.semantic = SemanticHead(head.num_classes, head.ignore_value, is_panoptic) if head is not None else None
        evaluator = OmegaConf.select(cfg, "dataloader.evaluator")  # of a panoptic model a list of them
        sigmas = evaluator.get("kpt_oks_sigmas") if isinstance(evaluator, DictConfig) else None
        self.oks_sigmas = tuple(sigmas or ())
        loader = cfg.dataloader.train
        self.loader_config = LoaderConfig(
            loader.total_batch_size,
            groups_by_aspect=loader.get("aspect_ratio_grouping", True),
            workers=workers,
        )
        self._device = device
        self._clip_norm = clip_norm

    def _build(self) -> nn.Module:
        model: nn.Module = instantiate(self.cfg.model)
        return model.to(self._device)

    def optimizer(self, model: nn.Module) -> Optimizer:  # noqa: D102
        cfg = copy.deepcopy(self.cfg.optimizer)
        cfg.params.model = model
        optimizer: Optimizer = instantiate(cfg)
        return with_gradient_clipping(optimizer, self._clip_norm) if self._clip_norm is not None else optimizer

    def scheduler(self, optimizer: Optimizer) -> LRScheduler:  # noqa: D102
        multiplier = instantiate(self.cfg.lr_multiplier)
        scheduler: LRScheduler = LRMultiplier(optimizer, multiplier=multiplier, max_iter=self.iterations)
        return scheduler

    def mapper(self, name: str, *, augmented: bool, annotated: bool) -> Mapper:  # noqa: D102
        loaders = self.cfg.dataloader
        mapper: Mapper
        if not (augmented or annotated):
            mapper = instantiate(loaders.test.mapper)
            return mapper
        cfg = copy.deepcopy(loaders.train.mapper)
        if not augmented:
            cfg.augmentations = loaders.test.mapper.augmentations
            cfg.recompute_boxes = False
        if MetadataCatalog.get(name).get("has_rle"):  # the test images may have it where the training had polygons
            cfg.instance_mask_format = "bitmask"
        if cfg.get("use_keypoint"):
            cfg.keypoint_hflip_indices = create_keypoint_hflip_indices(name)
        mapper = instantiate(cfg)
        return mapper

    def train_items(self, name: str) -> TrainItems:  # noqa: D102
        cfg = copy.deepcopy(self.cfg)
        loader = cfg.dataloader.train
        loader.dataset.names = name
        dicts = instantiate(loader.dataset)
        own = loader.get("sampler")  # it may refer to the data set
        return TrainItems(dicts, TrainingSampler(len(dicts)) if own is None else instantiate(own))

    def save(self, path: Path) -> None:  # noqa: D102
        with replacing(path) as temporary:
            LazyConfig.save(self.cfg, str(temporary))


def adapt_config(cfg: DictConfig, contents: AnnotationSummary, schedule: ScheduleConfig) -> None:
    """Adapt a config to the classes and the annotations of the data, and to the schedule."""
    for key in _CLASSES:
        if isinstance(OmegaConf.select(cfg, key), int):
            OmegaConf.update(cfg, key, len(contents.categories))
    mapper = cfg.dataloader.train.mapper
    if OmegaConf.select(cfg, "model.roi_heads.mask_head") is not None and not contents.has_masks:
        logger.warning("The training data have boxes only: the mask head is left out.")
        for key in _MASKS:
            cfg.model.roi_heads.pop(key, None)
        mapper.use_instance_mask = mapper.recompute_boxes = False
    if contents.has_rle:
        mapper.instance_mask_format = "bitmask"
    _apply_schedule(cfg, schedule, contents)


def load_config(path: Path, overrides: Mapping[str, Any]) -> DictConfig:
    """Load a Python config and replace some of its keys; parts that it lacks are taken from detectron2's zoo.

    Raises:
        ConfigError: The file or a key is refused.
    """
    try:
        cfg = LazyConfig.load(str(path))
    except Exception as error:  # the file is Python: it may raise anything
        raise ConfigError(
            f"model.config: {path} cannot be loaded: {type(error).__name__}: {first_line(error)}. Correct the file."
        ) from error
    if not isinstance(cfg, DictConfig) or "model" not in cfg:
        raise ConfigError(f"model.config: {path} defines no `model`. Give a LazyConfig file of detectron2.")
    for key, (file, name) in _DEFAULTS.items():
        if key not in cfg:
            from detectron2 import model_zoo  # warns of the deprecated pkg_resources when it is imported

            cfg[key] = model_zoo.get_config(file)[name]
    for key, value in flatten(overrides).items():
        parent = key.rpartition(".")[0]
        if key.partition(".")[0] not in cfg or (parent and not _is_part(cfg, parent)):
            raise ConfigError(f"model.overrides: {parent or key} is no part of {path}. Its parts are {', '.join(cfg)}.")
        OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


def _is_part(cfg: DictConfig, key: str) -> bool:
    try:
        return isinstance(OmegaConf.select(cfg, key), DictConfig)
    except OmegaConfBaseException:  # what is above it is a list or a value
        return False


def _apply_schedule(cfg: DictConfig, schedule: ScheduleConfig, contents: AnnotationSummary) -> None:
    loader, optimizer = cfg.dataloader.train, cfg.optimizer
    if schedule.batch_size is not None:
        # The linear rule (Goyal et al., arXiv 1706.02677): the rate grows with the batch.
        optimizer.lr *= schedule.batch_size / loader.total_batch_size
        loader.total_batch_size = schedule.batch_size
    if schedule.lr is not None:
        optimizer.lr = schedule.lr
    iterations = schedule.length(contents.images, loader.total_batch_size)
    if iterations is not None:
        cfg.train.max_iter = iterations  # a multiplier is a function of the fraction of the training
    if schedule.warmup is not None:
        cfg.lr_multiplier.warmup_length = min(schedule.warmup / max(cfg.train.max_iter, 1), 1.0)
    if schedule.decay == "cosine":
        cfg.lr_multiplier.scheduler = LazyCall(CosineParamScheduler)(start_value=1.0, end_value=0.0)
    elif schedule.decay == "step":
        # 2/3 and 8/9 of the training, as in every 1x schedule of the zoo.
        cfg.lr_multiplier.scheduler = LazyCall(MultiStepParamScheduler)(values=[1.0, 0.1, 0.01], milestones=[6, 8, 9])
    if schedule.weight_decay is not None:
        optimizer.weight_decay = schedule.weight_decay
    if schedule.amp is not None:
        cfg.train.amp.enabled = schedule.amp
