"""AP of a trained model by detectron2's evaluator, with or without noise."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from torch import nn

from ablation import progress
from ablation.config import RunConfig
from ablation.datasets.annotations import Split, check
from ablation.datasets.catalog import evaluation_loader, register
from ablation.datasets.files import locate
from ablation.detector import Detector
from ablation.injection import Injection
from ablation.progress import Progress
from ablation.record import LevelTelemetry

logger = logging.getLogger(__name__)

# COCO's area ranges in square pixels, by the suffix of detectron2's metric names.
_AREAS = {"APs": (0, 32**2), "APm": (32**2, 96**2), "APl": (96**2, math.inf)}


@dataclass(frozen=True)
class Evaluation:
    """metrics: detectron2's names to percent, None where there is no ground truth; flags: remarks on them."""

    metrics: Mapping[str, float | None]
    flags: tuple[str, ...]
    telemetry: Mapping[str, LevelTelemetry]


def evaluate(model: nn.Module, config: RunConfig, detector: Detector) -> Evaluation:
    """Measure a trained model on the test split, under the run's noise if that acts in evaluation.

    Raises:
        NoiseNotApplied: the noise never acted.
    """
    split = locate(config.dataset, "test")
    contents, name = check(split), register(split)
    asked = {"bbox": True, "segm": detector.has_masks and contents.has_masks}
    asked["keypoints"] = detector.has_keypoints and bool(contents.keypoints)
    tasks = tuple(task for task, is_asked in asked.items() if is_asked)
    mapper = detector.mapper(name, augmented=False, annotated=False)
    loader = _Reporting(evaluation_loader(mapper, name, config.evaluation.batch_size, detector.feed.workers))
    evaluator = COCOEvaluator(
        name, tasks=tasks, distributed=False, use_fast_impl=False, kpt_oks_sigmas=detector.oks_sigmas
    )
    for annotation in evaluator._coco_api.anns.values():
        # pycocotools needs both; boxes from other tools often come without them.
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    with Injection(model, config.noise, phase="eval") as injection:
        results = inference_on_dataset(model, loader, evaluator)
    injection.check_applied()
    metrics = {f"{task}/{key}": value for task in tasks for key, value in results.get(task, {}).items()}
    return Evaluation(*_completed(metrics, split, tasks), telemetry=injection.telemetry())


def _completed(
    metrics: Mapping[str, float], split: Split, tasks: tuple[str, ...]
) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """A model that predicts nothing scores 0, and a flag says so; a size without ground truth has no score."""
    if any(math.isfinite(value) for value in metrics.values()):
        return {name: value if math.isfinite(value) else None for name, value in metrics.items()}, ()
    present = _present_sizes(split)
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    zeros = {f"{t}/{n}": 0.0 if present.get(n, True) else None for t in tasks for n in names}
    return zeros, ("no detections: every AP is 0",)


def _present_sizes(split: Split) -> dict[str, bool]:
    annotations = json.loads(split.annotations.read_bytes())["annotations"]
    areas = [a.get("area", a["bbox"][2] * a["bbox"][3]) for a in annotations if not a.get("iscrowd")]
    return {name: any(low <= area <= high for area in areas) for name, (low, high) in _AREAS.items()}


class _Reporting:
    """A loader that tells how far the evaluation is."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        started, total = time.perf_counter(), len(self)
        for done, batch in enumerate(self._loader):
            left = (time.perf_counter() - started) / done * (total - done) if done else None
            progress.tell(Progress("evaluate", done, total, seconds_left=left))
            yield batch
