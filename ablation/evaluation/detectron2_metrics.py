"""Metrics of keypoints and of semantic labels, by detectron2's own evaluators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import COCOEvaluator, SemSegEvaluator
from numpy.typing import NDArray
from PIL import Image

from ablation.data.loaders import register_semantic
from ablation.data.splits import Split
from ablation.models.detector import Detector, SemanticHead

_SEMANTIC_METRICS = ("mIoU", "fwIoU", "mACC", "pACC")  # detectron2 gives those of each class too


def build_evaluators(split: Split, name: str, detector: Detector) -> dict[str, Any]:
    """Return detectron2's evaluators for what is predicted besides boxes and masks, by task.

    Args:
        split: The split to evaluate on.
        name: Of the split in detectron2's catalog.
        detector: The config of the model.
    """
    evaluators = {}
    if detector.has_keypoints and split.summary.has_keypoints:
        evaluators["keypoints"] = keypoint_evaluator(name, detector.oks_sigmas)
    if detector.semantic and split.sem_seg:
        evaluators["sem_seg"] = semantic_evaluator(split, detector.semantic)
    return evaluators


def keypoint_evaluator(name: str, oks_sigmas: Sequence[float]) -> Any:
    """Return detectron2's evaluator of the keypoints of a registered split.

    Args:
        name: Of the split in detectron2's catalog.
        oks_sigmas: One for each keypoint; () for COCO's own.
    """
    evaluator = COCOEvaluator(
        name, ("keypoints",), distributed=False, use_fast_impl=False, kpt_oks_sigmas=tuple(oks_sigmas)
    )
    evaluator.reset()
    points = len(evaluator._metadata.keypoint_names)
    # pycocotools needs keys that a valid file may lack: crowds have no keypoints.
    for annotation in evaluator._coco_api.anns.values():
        keypoints = annotation["keypoints"] = annotation.get("keypoints") or [0] * 3 * points
        annotation.setdefault("num_keypoints", sum(visibility > 0 for visibility in keypoints[2::3]))
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        annotation.setdefault("iscrowd", 0)
    return evaluator


def semantic_evaluator(split: Split, head: SemanticHead) -> Any:
    """Return detectron2's evaluator of the semantic labels of a split."""
    name = register_semantic(split, head.classes, head.ignore_value)
    evaluator = SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=_read_labels)
    evaluator.reset()
    return evaluator


def read_metrics(evaluator: Any, task: str) -> dict[str, float | None]:
    """Return the metrics by detectron2's names, in percent; None where there is no ground truth of that kind."""
    metrics = evaluator.evaluate().get(task, {})
    names = _SEMANTIC_METRICS if task == "sem_seg" else metrics
    return {f"{task}/{name}": float(metrics[name]) if math.isfinite(metrics[name]) else None for name in names}


def _read_labels(path: str, dtype: Any) -> NDArray[Any]:
    # detectron2's own function forbids numpy to copy where the dtype needs a copy, which numpy 2 refuses.
    with Image.open(path) as image:
        return np.array(image, dtype)
