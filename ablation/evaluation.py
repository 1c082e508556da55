"""AP of a trained model, under its own evaluation noise and under each cell of a noise grid."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from detectron2.evaluation import COCOEvaluator
from torch import Tensor, nn

from ablation import progress
from ablation.config import NoiseConfig, RunConfig
from ablation.datasets.annotations import check
from ablation.datasets.catalog import evaluation_loader, register
from ablation.datasets.files import locate
from ablation.detections import Detections, scores
from ablation.detector import Detector
from ablation.injection import Injection
from ablation.progress import Progress
from ablation.record import GridScore, LevelTelemetry
from ablation.scoring import Matches
from ablation.scoring.matching import Task
from ablation.semantic_scores import semantic_evaluator, semantic_metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """metrics: detectron2's names to percent, None where there is no ground truth; flags: remarks on them.

    matches: by task, what the metrics were counted from. grid: the metrics of each cell of the noise grid.
    """

    metrics: Mapping[str, float | None]
    flags: tuple[str, ...]
    telemetry: Mapping[str, LevelTelemetry]
    matches: Mapping[str, Matches]
    grid: tuple[GridScore, ...]


class SharedFeatures:
    """Inside the block the backbone computes the features of a batch once, however often the model is asked.

    Noise is added behind the backbone by hooks, so each pass perturbs the same clean features, and its result is that
    of an evaluation of its own. `forget` before each batch.
    """

    def __init__(self, model: Any) -> None:
        self._backbone = model.backbone
        self._features: dict[str, Tensor] | None = None

    def __enter__(self) -> SharedFeatures:
        self._compute = self._backbone.forward
        self._backbone.forward = self._shared
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._backbone.forward

    def forget(self) -> None:
        """The next pass is about other images, or other features of them."""
        self._features = None

    def _shared(self, images: Tensor) -> dict[str, Tensor]:
        if self._features is None:
            self._features = self._compute(images)
        return dict(self._features)


@dataclass(frozen=True)
class _Pass:
    """One noise under which the model is asked."""

    injection: Injection
    detections: Detections


def evaluate(model: nn.Module, config: RunConfig, detector: Detector) -> Evaluation:
    """Measure a trained model on the test split, under the run's noise if that acts in evaluation, and the grid.

    Raises:
        NoiseNotApplied: a noise never acted.
    """
    split = locate(config.dataset, "test")
    contents, name = check(split), register(split)
    tasks: tuple[Task, ...] = ("bbox", "segm") if detector.has_masks and contents.has_masks else ("bbox",)
    truth = json.loads(split.annotations.read_bytes())
    cells = config.evaluation.noise_grid.cells()

    def asked(noise: NoiseConfig, draw: int) -> _Pass:
        return _Pass(Injection(model, noise, phase="eval", draw=draw), Detections(truth))

    own = asked(config.noise, 0)
    clean = own if not config.noise.acts("eval") else None
    passes = [own]
    of_cells: list[_Pass] = []
    for cell in cells:
        one = clean if clean and not cell.noise.acts("eval") else asked(cell.noise, cell.draw)
        clean = clean or (one if not cell.noise.acts("eval") else None)
        passes += [] if one in passes else [one]
        of_cells.append(one)
    keypoints = _keypoints(name, detector) if detector.has_keypoints and contents.keypoints else None
    mapper = detector.mapper(name, augmented=False, annotated=False)
    loader = evaluation_loader(mapper, name, config.evaluation.batch_size, detector.feed.workers)
    labels = semantic_evaluator(split, detector.semantic) if detector.semantic and split.sem_seg else None
    _infer(model, loader, passes, [evaluator for evaluator in (keypoints, labels) if evaluator])
    for one in passes:
        one.injection.check_applied()
    matches: dict[str, Matches] = {task: own.detections.matches(task) for task in tasks}
    metrics = {key: value for task in tasks for key, value in scores(matches[task], task).items()}
    metrics |= _keypoint_metrics(keypoints) if keypoints else {}
    metrics |= semantic_metrics(labels) if labels else {}
    found = {id(one): _scored(one, tasks) for one in passes if one is not own} | {id(own): dict(metrics)}
    grid = tuple(
        GridScore(cell.type, cell.sigma, cell.levels, cell.draw, found[id(one)], one.injection.telemetry())
        for cell, one in zip(cells, of_cells, strict=True)
    )
    flags = () if len(own.detections) else ("no detections: every AP is 0",)
    metrics |= _robustness(grid, found[id(clean)] if clean else None, tasks)
    return Evaluation(metrics, flags, own.injection.telemetry(), matches, grid)


def _infer(model: nn.Module, loader: Any, passes: Sequence[_Pass], evaluators: Sequence[Any]) -> None:
    """Ask the model about each batch once for each pass; detectron2's evaluators see what the first one gave."""
    model.eval()
    with torch.no_grad(), SharedFeatures(model) as shared:
        for batch in _reported(loader):
            shared.forget()
            for number, one in enumerate(passes):
                if one.injection.is_inside_the_backbone:
                    shared.forget()
                with one.injection:
                    outputs = model(batch)
                if one.injection.is_inside_the_backbone:
                    shared.forget()
                one.detections.add(batch, outputs)
                for evaluator in evaluators if number == 0 else ():
                    evaluator.process(batch, outputs)


def _scored(one: _Pass, tasks: Sequence[Task]) -> dict[str, float | None]:
    return {key: value for task in tasks for key, value in scores(one.detections.matches(task), task).items()}


def _robustness(
    grid: Sequence[GridScore], clean: Mapping[str, float | None] | None, tasks: Sequence[str]
) -> dict[str, float | None]:
    """MPFN, the mean AP over the grid's noisy cells, and rPFN, its share of the clean AP in percent.

    The counterparts in the features of mPC and rPC (Michaelis et al., arXiv 1907.07484).
    """
    found: dict[str, float | None] = {}
    for task in tasks:
        noisy = [ap for cell in grid if cell.sigma > 0 and (ap := cell.metrics.get(f"{task}/AP")) is not None]
        if not noisy:
            continue
        mean = sum(noisy) / len(noisy)
        without = (clean or {}).get(f"{task}/AP")
        found[f"{task}/mPFN"] = mean
        found[f"{task}/rPFN"] = 100 * mean / without if without else None
    return found


def _keypoints(name: str, detector: Detector) -> Any:
    """Detectron2's own evaluator, for the one task whose similarity needs constants of each data set."""
    evaluator = COCOEvaluator(
        name, ("keypoints",), distributed=False, use_fast_impl=False, kpt_oks_sigmas=detector.oks_sigmas
    )
    evaluator.reset()
    return evaluator


def _keypoint_metrics(evaluator: Any) -> dict[str, float | None]:
    found = evaluator.evaluate().get("keypoints", {})
    return {f"keypoints/{key}": value if math.isfinite(value) else None for key, value in found.items()}


def _reported(loader: Any) -> Iterator[Any]:
    """The batches, telling how far the evaluation is."""
    started, total = time.perf_counter(), len(loader)
    for done, batch in enumerate(loader):
        left = (time.perf_counter() - started) / done * (total - done) if done else None
        progress.tell(Progress("evaluate", done, total, seconds_left=left))
        yield batch
