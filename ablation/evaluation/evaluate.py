"""Metrics of a trained model: under its own evaluation noise, under a noise grid and on corrupted images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ablation.config.noise import NoiseConfig
from ablation.config.schemas import RunConfig
from ablation.data.dataset import Dataset
from ablation.data.loaders import Mapper, evaluation_loader, register
from ablation.data.splits import Split
from ablation.evaluation import detectron2_metrics
from ablation.evaluation.corruptions import CorruptedMapper
from ablation.evaluation.detections import Detections, scores
from ablation.evaluation.matching import Task
from ablation.evaluation.pictures import ExampleCollector, ExampleImage
from ablation.evaluation.robustness import under_corruption, under_noise
from ablation.models.detector import Detector
from ablation.models.injection import Injection
from ablation.processes import progress
from ablation.processes.progress import Progress
from ablation.records.schema import CorruptionScore, GridScore, LevelTelemetry
from ablation.scoring import Matches

MetricReader = Callable[[Any], dict[str, float | None]]
BatchCallback = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], object]


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        metrics: By detectron2's names, in percent; None where there is no ground truth.
        flags: Remarks on the metrics.
        telemetry: What the run's own noise did, by level.
        matches: By task; the metrics are computed from these.
        grid: The metrics under each cell of the noise grid.
        corruptions: The metrics on the images under each corruption.
        error_shift: By task, TIDE's kinds of error to points of AP50.
        pictures: A few images with their detections.
    """

    metrics: Mapping[str, float | None]
    flags: tuple[str, ...]
    telemetry: Mapping[str, LevelTelemetry]
    matches: Mapping[str, Matches]
    grid: tuple[GridScore, ...]
    corruptions: tuple[CorruptionScore, ...]
    error_shift: Mapping[str, Mapping[str, float | None]]
    pictures: tuple[ExampleImage, ...]


class BatchCounter:
    """Counts and reports the batches of an evaluation; each batch counts once for each noise or corruption."""

    def __init__(self, total: int) -> None:
        self.done, self._total, self._started = 0, total, time.perf_counter()

    def report(self) -> None:
        """Report the progress to the parent process."""
        elapsed = time.perf_counter() - self._started
        left = elapsed / self.done * (self._total - self.done) if self.done else None
        progress.report_progress(Progress("evaluate", self.done, self._total, seconds_left=left))


class SharedFeatures:
    """Computes the features of the backbone once per batch inside a `with` block, for any number of forward passes.

    Noise is added behind the backbone by hooks, so each pass perturbs the same clean features and gives the result of
    an evaluation of its own. Call `clear` before each batch.
    """

    def __init__(self, model: Any) -> None:
        self._backbone = model.backbone
        self._features: dict[str, Tensor] | None = None

    def __enter__(self) -> SharedFeatures:
        self._compute = self._backbone.forward
        self._backbone.forward = self._forward
        return self

    def __exit__(self, *_: object) -> None:
        del self._backbone.forward

    def clear(self) -> None:
        """Drop the features, because the next pass has other images or changes what the backbone computes."""
        self._features = None

    def _forward(self, images: Tensor) -> dict[str, Tensor]:
        if self._features is None:
            self._features = self._compute(images)
        return dict(self._features)


@dataclass(frozen=True, eq=False)
class _Pass:
    """A noise, and the detections of the model under it."""

    injection: Injection
    detections: Detections

    def scores(self, tasks: Sequence[Task]) -> dict[str, float | None]:
        """Return the metrics of each task."""
        return {key: value for task in tasks for key, value in scores(self.detections.matches(task), task).items()}


def evaluate(model: nn.Module, config: RunConfig, dataset: Dataset, detector: Detector) -> Evaluation:
    """Evaluate a trained model on the test split, on corrupted images and under each cell of the noise grid.

    The run's own noise acts on the test split and on the corrupted images if it acts in evaluation.

    Raises:
        NoiseNotApplied: A noise never acted.
    """
    split = dataset.split("test")
    name = register(split)
    tasks: tuple[Task, ...] = ("bbox", "segm") if detector.has_masks and split.summary.has_masks else ("bbox",)
    truth = json.loads(split.annotations.read_bytes())

    def new_pass(noise: NoiseConfig, draw: int = 0) -> _Pass:
        return _Pass(Injection(model, noise, phase="eval", draw=draw), Detections(truth))

    def load(mapper: Mapper) -> Any:
        unannotated = partial(_map_without_annotations, mapper)
        return evaluation_loader(unannotated, name, config.evaluation.batch_size, detector.loader_config.workers)

    own = new_pass(config.noise)
    clean = own if not config.noise.acts("eval") else None
    cells = config.evaluation.noise_grid.cells()
    cell_passes = []
    for cell in cells:
        if cell.noise.acts("eval"):
            cell_passes.append(new_pass(cell.noise, cell.draw))
        else:  # all cells without noise share one pass
            clean = clean or new_pass(cell.noise, cell.draw)
            cell_passes.append(clean)
    passes = list(dict.fromkeys([own, *cell_passes]))
    evaluators = _detectron2_evaluators(split, name, detector)
    examples = ExampleCollector(truth, split.images, config.evaluation.pictures)
    mapper = detector.mapper(name, augmented=False, annotated=False)
    loader, conditions = load(mapper), config.evaluation.conditions()
    counter = BatchCounter(len(loader) * (len(passes) + len(conditions)))
    _infer(model, loader, passes, counter, [examples.add, *(evaluator.process for evaluator, _ in evaluators)])
    corruptions = []
    for corruption, severity in conditions:
        corrupted = new_pass(config.noise)
        _infer(model, load(CorruptedMapper(mapper, corruption, severity)), [corrupted], counter)
        corruptions.append(CorruptionScore(corruption, severity, corrupted.scores(tasks)))
    for one in passes:
        one.injection.check_applied()
    pass_scores = {one: one.scores(tasks) for one in passes}
    grid = tuple(
        GridScore(cell.type, cell.sigma, cell.levels, cell.draw, pass_scores[one], one.injection.telemetry())
        for cell, one in zip(cells, cell_passes, strict=True)
    )
    metrics = dict(pass_scores[own])
    for evaluator, read_metrics in evaluators:
        metrics |= read_metrics(evaluator)
    metrics |= under_noise(grid, pass_scores[clean] if clean else None, tasks)
    metrics |= under_corruption(corruptions, pass_scores[own], tasks)
    return Evaluation(
        metrics,
        () if len(own.detections) else ("no detections: every AP is 0",),
        own.injection.telemetry(),
        {task: own.detections.matches(task) for task in tasks},
        grid,
        tuple(corruptions),
        {task: own.detections.error_shift(task) for task in tasks},
        examples.examples(),
    )


def _detectron2_evaluators(split: Split, name: str, detector: Detector) -> list[tuple[Any, MetricReader]]:
    """Return detectron2's evaluators for what is predicted besides boxes and masks, each with its reader."""
    evaluators: list[tuple[Any, MetricReader]] = []
    if detector.has_keypoints and split.summary.has_keypoints:
        keypoints = detectron2_metrics.keypoint_evaluator(name, detector.oks_sigmas)
        evaluators.append((keypoints, detectron2_metrics.keypoint_metrics))
    if detector.semantic and split.sem_seg:
        labels = detectron2_metrics.semantic_evaluator(split, detector.semantic)
        evaluators.append((labels, detectron2_metrics.semantic_metrics))
    return evaluators


def _map_without_annotations(mapper: Mapper, entry: dict[str, Any]) -> dict[str, Any]:
    # detectron2's mapper would copy every polygon, only to drop it.
    return mapper({key: value for key, value in entry.items() if key != "annotations"})


def _infer(
    model: nn.Module,
    loader: Any,
    passes: Sequence[_Pass],
    counter: BatchCounter,
    callbacks: Sequence[BatchCallback] = (),
) -> None:
    """Run the model on each batch once for each pass; the callbacks receive the outputs of the first one."""
    model.eval()
    with torch.no_grad(), SharedFeatures(model) as shared:
        for batch in loader:
            shared.clear()
            for number, one in enumerate(passes):
                counter.report()
                if one.injection.is_inside_backbone:
                    shared.clear()
                with one.injection:
                    outputs = model(batch)
                if one.injection.is_inside_backbone:
                    shared.clear()
                one.detections.add(batch, outputs)
                for callback in callbacks if number == 0 else ():
                    callback(batch, outputs)
                counter.done += 1
