"""How well a model finds keypoints, counted by detectron2's own evaluator: their similarity needs constants of each
data set."""

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
from ablation.models.detector import SemanticHead


def keypoint_evaluator(name: str, oks_sigmas: Sequence[float]) -> Any:
    """Detectron2's evaluator of the keypoints of a registered split; its `process` takes inputs and outputs.

    oks_sigmas: one for each keypoint, () for COCO's own.
    """
    evaluator = COCOEvaluator(
        name, ("keypoints",), distributed=False, use_fast_impl=False, kpt_oks_sigmas=tuple(oks_sigmas)
    )
    evaluator.reset()
    points = len(evaluator._metadata.keypoint_names)
    for annotation in evaluator._coco_api.anns.values():
        _complete(annotation, points)
    return evaluator


def keypoint_metrics(evaluator: Any) -> dict[str, float | None]:
    """Detectron2's numbers by detectron2's names, in percent; None where there is no ground truth of that kind."""
    found = evaluator.evaluate().get("keypoints", {})
    return {f"keypoints/{key}": value if math.isfinite(value) else None for key, value in found.items()}


def _complete(annotation: dict[str, Any], points: int) -> None:
    """Give an annotation what pycocotools asks for and a checked file may lack: crowds have no keypoints."""
    keypoints = annotation.get("keypoints") or [0] * 3 * points
    annotation["keypoints"] = keypoints
    annotation.setdefault("num_keypoints", sum(visibility > 0 for visibility in keypoints[2::3]))
    annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    annotation.setdefault("iscrowd", 0)


_KEPT = ("mIoU", "fwIoU", "mACC", "pACC")


def semantic_evaluator(split: Split, head: SemanticHead) -> Any:
    """Detectron2's evaluator of the labels of a split; its `process` takes inputs and outputs of the model."""
    name = register_semantic(split, head.classes, head.ignore_value)
    evaluator = SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=_read)
    evaluator.reset()
    return evaluator


def semantic_metrics(evaluator: Any) -> dict[str, float | None]:
    """Detectron2's numbers by detectron2's names, in percent; None where no pixel is labelled."""
    found = evaluator.evaluate()["sem_seg"]
    return {f"sem_seg/{key}": float(found[key]) if math.isfinite(found[key]) else None for key in _KEPT}


def _read(path: str, dtype: Any) -> NDArray[Any]:
    # detectron2's own asks numpy for no copy where the dtype needs one, which numpy 2 refuses.
    with Image.open(path) as image:
        return np.array(image, dtype)
