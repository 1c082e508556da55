"""Metrics of a trained model: under its own evaluation noise, under a noise grid and on corrupted images."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ablation.config.evaluation import GridCell
from ablation.config.noise import NoiseConfig
from ablation.config.schemas import RunConfig
from ablation.data.dataset import Dataset
from ablation.data.loaders import Mapper, evaluation_loader, register
from ablation.evaluation import detectron2_metrics
from ablation.evaluation.corruptions import CorruptedMapper
from ablation.evaluation.detections import Detections
from ablation.evaluation.matching import Task
from ablation.evaluation.pictures import ExampleCollector, ExampleImage
from ablation.evaluation.robustness import robustness
from ablation.models.detector import Detector
from ablation.models.injection import Injection
from ablation.processes import progress
from ablation.processes.progress import Progress
from ablation.records.schema import CorruptionScore, GridScore, LevelTelemetry
from ablation.scoring import Matches

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


@contextlib.contextmanager
def shared_features(model: Any) -> Iterator[Callable[[], None]]:
    """Compute the features of the backbone once per batch inside a `with` block, for any number of forward passes.

    Noise is added behind the backbone by hooks, so each pass perturbs the same clean features and gives the result of
    an evaluation of its own.

    Yields:
        A function that drops the features. Call it before each batch, and around a pass that changes what the backbone
        computes.
    """
    compute = model.backbone.forward
    features: dict[str, Tensor] = {}

    def forward(images: Tensor) -> dict[str, Tensor]:
        if not features:
            features.update(compute(images))
        return dict(features)  # a copy, so that no consumer changes the shared one

    model.backbone.forward = forward
    try:
        yield features.clear
    finally:
        del model.backbone.forward


@dataclass(frozen=True, eq=False)
class _Pass:
    """A noise, and the detections of the model under it."""

    noise: NoiseConfig
    injection: Injection
    detections: Detections


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
        return _Pass(noise, Injection(model, noise, phase="eval", draw=draw), Detections(truth))

    def load(mapper: Mapper) -> Any:
        unannotated = partial(_map_without_annotations, mapper)
        return evaluation_loader(unannotated, name, config.evaluation.batch_size, detector.loader_config.workers)

    own, cells = new_pass(config.noise), config.evaluation.noise_grid.cells
    cell_passes = _grid_passes(cells, own, new_pass)
    # Each pass once, the run's own first: the examples and detectron2's evaluators get the outputs of the first.
    passes = list(dict.fromkeys([own, *cell_passes]))
    evaluators = detectron2_metrics.build_evaluators(split, name, detector)
    examples = ExampleCollector(truth, split.images, config.evaluation.pictures)
    mapper = detector.mapper(name, augmented=False, annotated=False)
    loader, conditions = load(mapper), config.evaluation.conditions()
    counter = BatchCounter(len(loader) * (len(passes) + len(conditions)))
    _infer(model, loader, passes, counter, [examples.add, *(evaluator.process for evaluator in evaluators.values())])
    corruptions = []
    # A corrupted image shares no features with the clean one, so each condition needs a run over the images.
    for corruption, severity in conditions:
        corrupted = new_pass(config.noise)
        _infer(model, load(CorruptedMapper(mapper, corruption, severity)), [corrupted], counter)
        corruptions.append(CorruptionScore(corruption, severity, corrupted.detections.scores(tasks)))
    for one in passes:
        one.injection.check_applied()
    scores = {one: one.detections.scores(tasks) for one in passes}
    grid = tuple(
        GridScore(cell.type, cell.sigma, cell.levels, cell.draw, scores[one], one.injection.telemetry())
        for cell, one in zip(cells, cell_passes, strict=True)
    )
    metrics = dict(scores[own])
    for task, evaluator in evaluators.items():
        metrics |= detectron2_metrics.read_metrics(evaluator, task)
    clean = next((scores[one] for one in passes if not one.noise.acts("eval")), {})
    metrics |= robustness([cell.metrics for cell in grid if cell.sigma > 0], clean, tasks, "PFN")
    metrics |= robustness([score.metrics for score in corruptions], scores[own], tasks, "PC")
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


def _grid_passes(cells: Sequence[GridCell], own: _Pass, new_pass: Callable[[NoiseConfig, int], _Pass]) -> list[_Pass]:
    """Return the pass of each cell of the noise grid; all cells without noise share one, if possible the run's own."""
    clean = own if not own.noise.acts("eval") else None
    passes = []
    for cell in cells:
        if cell.noise.acts("eval"):
            passes.append(new_pass(cell.noise, cell.draw))
        else:
            clean = clean or new_pass(cell.noise, cell.draw)
            passes.append(clean)
    return passes


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
    with torch.no_grad(), shared_features(model) as drop_features:
        for batch in loader:
            drop_features()
            for number, one in enumerate(passes):
                counter.report()
                # Noise below the outputs acts while the backbone computes, so these features are of this pass alone.
                if one.injection.is_inside_backbone:
                    drop_features()
                with one.injection:
                    outputs = model(batch)
                if one.injection.is_inside_backbone:
                    drop_features()
                one.detections.add(batch, outputs)
                for callback in callbacks if number == 0 else ():
                    callback(batch, outputs)
                counter.done += 1
