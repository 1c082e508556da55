"""How well a model labels stuff, counted by detectron2's own evaluator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from detectron2.evaluation import SemSegEvaluator
from numpy.typing import NDArray
from PIL import Image

from ablation.datasets.annotations import Split
from ablation.datasets.catalog import register_semantic
from ablation.detector import SemanticHead

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
