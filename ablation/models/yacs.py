"""detectron2's YAML configs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.data.build import _train_loader_from_config
from detectron2.data.detection_utils import build_augmentation
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ablation.config.keys import flatten
from ablation.config.schedule import ScheduleConfig
from ablation.data.coco.annotations import AnnotationSummary
from ablation.data.loaders import LoaderConfig, Mapper, TrainItems
from ablation.models.detector import Detector, SemanticHead, with_gradient_clipping
from ablation.models.locate import needs_unsafe_loader
from ablation.records.atomic import write_text
from ablation.records.errors import ConfigError

logger = logging.getLogger(__name__)

_SCHEDULERS = {"step": "WarmupMultiStepLR", "cosine": "WarmupCosineLR"}
_STEPS = (2 / 3, 8 / 9)  # of the training: those of every 1x schedule of the zoo


class YacsDetector(Detector):
    """A frozen CfgNode, through detectron2's own builders."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg
        self.iterations = cfg.SOLVER.MAX_ITER
        self.weights = cfg.MODEL.WEIGHTS
        self.is_amp = cfg.SOLVER.AMP.ENABLED
        self.has_masks = cfg.MODEL.MASK_ON
        self.has_keypoints = cfg.MODEL.KEYPOINT_ON
        # Every config has the keys of a semantic head; only two architectures read them.
        architecture, head = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.SEM_SEG_HEAD
        is_semantic, is_panoptic = architecture in ("PanopticFPN", "SemanticSegmentor"), architecture == "PanopticFPN"
        self.semantic = SemanticHead(head.NUM_CLASSES, head.IGNORE_VALUE, is_panoptic) if is_semantic else None
        self.oks_sigmas = tuple(cfg.TEST.KEYPOINT_OKS_SIGMAS)
        _check_sampler(cfg.DATALOADER)
        self.loader_config = LoaderConfig(
            cfg.SOLVER.IMS_PER_BATCH,
            cfg.DATALOADER.ASPECT_RATIO_GROUPING,
            cfg.DATALOADER.NUM_WORKERS,
        )

    def _build(self) -> nn.Module:
        model: nn.Module = build_model(self.cfg)
        return model

    def optimizer(self, model: nn.Module) -> Optimizer:  # noqa: D102
        clip = self.cfg.SOLVER.CLIP_GRADIENTS
        is_clipped_here = clip.ENABLED and clip.CLIP_TYPE == "norm"
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED = clip.ENABLED and not is_clipped_here
        optimizer: Optimizer = build_optimizer(cfg, model)
        return with_gradient_clipping(optimizer, clip.CLIP_VALUE, clip.NORM_TYPE) if is_clipped_here else optimizer

    def scheduler(self, optimizer: Optimizer) -> LRScheduler:  # noqa: D102
        scheduler: LRScheduler = build_lr_scheduler(self.cfg, optimizer)
        return scheduler

    def mapper(self, name: str, *, augmented: bool, annotated: bool) -> Mapper:  # noqa: D102
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASETS.TRAIN = (name,)  # detectron2 looks up there which keypoints a flip exchanges
        if MetadataCatalog.get(name).get("has_rle"):  # the test images may have it where the training had polygons
            cfg.INPUT.MASK_FORMAT = "bitmask"
        if augmented or not annotated:
            mapper: Mapper = DatasetMapper(cfg, is_train=augmented)
        else:  # detectron2 reads the ground truth in training mode only
            augmentations = build_augmentation(cfg, is_train=False)
            mapper = DatasetMapper(cfg, is_train=True, augmentations=augmentations, recompute_boxes=False)
        return mapper

    def train_items(self, name: str) -> TrainItems:  # noqa: D102
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASETS.TRAIN = (name,)
        # Only this function of detectron2 knows the seed of the sampler, which has changed between its commits.
        made = _train_loader_from_config(cfg, mapper=lambda entry: entry)
        return TrainItems(made["dataset"], made["sampler"])

    def save(self, path: Path) -> None:  # noqa: D102
        write_text(path, self.cfg.dump())


def adapt_config(cfg: CfgNode, contents: AnnotationSummary, schedule: ScheduleConfig) -> None:
    """Adapt a config to the classes and the annotations of the data, and to the schedule.

    Raises:
        ConfigError: The model needs proposals of a file.
    """
    if cfg.MODEL.LOAD_PROPOSALS:
        raise ConfigError(
            "MODEL.LOAD_PROPOSALS=True is not supported: proposals are computed by the model. Choose a config with an "
            "RPN, such as COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml."
        )
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(contents.categories)
    cfg.MODEL.RETINANET.NUM_CLASSES = len(contents.categories)
    if cfg.MODEL.MASK_ON and not contents.has_masks:
        logger.warning("The training data have boxes only: the mask head is left out (MODEL.MASK_ON=False).")
        cfg.MODEL.MASK_ON = False
    cfg.INPUT.MASK_FORMAT = "bitmask" if contents.has_rle else cfg.INPUT.MASK_FORMAT
    if cfg.MODEL.KEYPOINT_ON:
        cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = len(contents.keypoints)
    _apply_schedule(cfg.SOLVER, schedule, contents)


def load_config(path: Path, overrides: Mapping[str, Any]) -> CfgNode:
    """Load a YAML config and replace some of its keys.

    Raises:
        ConfigError: The file or a key is refused.
    """
    cfg = get_cfg()
    try:
        cfg.merge_from_file(str(path), allow_unsafe=needs_unsafe_loader(path))
        for key, value in flatten(overrides).items():
            cfg.merge_from_list([key, value])
    except (KeyError, AssertionError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path} with model.overrides={dict(overrides)} is refused: {_shorten(error)}. Check the key and its value."
        ) from error
    return cfg


def _shorten(error: Exception) -> str:
    """Return the first and the last line of a message: yacs prints the values in between, which may be whole groups."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
    return " ... ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else type(error).__name__


def _check_sampler(loader: CfgNode) -> None:
    name = loader.SAMPLER_TRAIN
    if name not in ("TrainingSampler", "RepeatFactorTrainingSampler"):
        raise ConfigError(
            f"DATALOADER.SAMPLER_TRAIN must be TrainingSampler or RepeatFactorTrainingSampler, got {name!r}. Set "
            "+model.overrides.DATALOADER.SAMPLER_TRAIN=... to one of these."
        )
    if name == "RepeatFactorTrainingSampler" and loader.REPEAT_THRESHOLD <= 0:
        raise ConfigError(
            f"DATALOADER.REPEAT_THRESHOLD must be > 0 for RepeatFactorTrainingSampler, got {loader.REPEAT_THRESHOLD}."
        )


def _apply_schedule(solver: CfgNode, schedule: ScheduleConfig, contents: AnnotationSummary) -> None:
    if schedule.batch_size is not None:
        # The linear rule (Goyal et al., arXiv 1706.02677): the rate grows with the batch.
        solver.BASE_LR *= schedule.batch_size / solver.IMS_PER_BATCH
        solver.IMS_PER_BATCH = schedule.batch_size
    if schedule.lr is not None:
        solver.BASE_LR = schedule.lr
    iterations = schedule.length(contents.images, solver.IMS_PER_BATCH)
    if iterations is not None:
        ratio = iterations / solver.MAX_ITER
        solver.STEPS = _steps_within(iterations, (step * ratio for step in solver.STEPS))
        solver.WARMUP_ITERS = round(solver.WARMUP_ITERS * ratio)
        solver.MAX_ITER = iterations
    if schedule.warmup is not None:
        solver.WARMUP_ITERS = schedule.warmup
    if schedule.decay is not None:
        solver.LR_SCHEDULER_NAME = _SCHEDULERS[schedule.decay]
        solver.STEPS = solver.STEPS or _steps_within(solver.MAX_ITER, (step * solver.MAX_ITER for step in _STEPS))
    if schedule.weight_decay is not None:
        solver.WEIGHT_DECAY = schedule.weight_decay
    if schedule.clip_norm is not None:
        clip = solver.CLIP_GRADIENTS
        clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE = True, "norm", schedule.clip_norm
    if schedule.amp is not None:
        solver.AMP.ENABLED = schedule.amp


def _steps_within(iterations: int, steps: Iterable[float]) -> tuple[int, ...]:
    """Return the steps that lie inside the training, rising; in a very short training some coincide."""
    return tuple(sorted({rounded for step in steps if 1 <= (rounded := round(step)) < iterations}))
