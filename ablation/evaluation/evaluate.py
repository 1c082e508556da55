"""AP of a trained model, under its own evaluation noise and under each cell of a noise grid."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ablation.config.noise import NoiseConfig
from ablation.config.schemas import RunConfig
from ablation.data.coco.annotations import AnnotationSummary, Split, check_annotations_file
from ablation.data.loaders import Mapper, evaluation_loader, register
from ablation.data.splits import locate
from ablation.evaluation.corruptions import CorruptedMapper
from ablation.evaluation.detections import Detections, scores
from ablation.evaluation.detectron2_metrics import (
    keypoint_evaluator,
    keypoint_metrics,
    semantic_evaluator,
    semantic_metrics,
)
from ablation.evaluation.matching import Task
from ablation.evaluation.pictures import Album, ExampleImage
from ablation.evaluation.robustness import under_corruption, under_noise
from ablation.models.detector import Detector
from ablation.models.injection import Injection
from ablation.processes import progress
from ablation.processes.progress import Progress
from ablation.records.schema import CorruptionScore, GridScore, LevelTelemetry
from ablation.scoring import Matches

_Told = Callable[[Any], dict[str, float | None]]
BatchCallback = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], object]


@dataclass(frozen=True)
class Evaluation:
    """metrics: detectron2's names to percent, None where there is no ground truth; flags: remarks on them.

    matches: by task, what the metrics were counted from. grid: the metrics of each cell of the noise grid; corruptions:
    those on the images under each corruption; error_shift: by task, TIDE's kinds of error to points of AP50.
    pictures: a few images with what was found in them.
    """

    metrics: Mapping[str, float | None]
    flags: tuple[str, ...]
    telemetry: Mapping[str, LevelTelemetry]
    matches: Mapping[str, Matches]
    grid: tuple[GridScore, ...]
    corruptions: tuple[CorruptionScore, ...]
    error_shift: Mapping[str, Mapping[str, float | None]]
    pictures: tuple[ExampleImage, ...]


class Countdown:
    """Tells how far an evaluation is, in batches under one noise or corruption each; done: of `total`."""

    def __init__(self, total: int) -> None:
        self.done, self._total, self._started = 0, total, time.perf_counter()

    def tell(self) -> None:
        """Tell the watcher of this process."""
        spent = time.perf_counter() - self._started
        left = spent / self.done * (self._total - self.done) if self.done else None
        progress.report_progress(Progress("evaluate", self.done, self._total, seconds_left=left))


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


@dataclass(frozen=True, eq=False)
class _Pass:
    """One noise under which the model is asked."""

    injection: Injection
    detections: Detections

    def scores(self, tasks: Sequence[Task]) -> dict[str, float | None]:
        """The metrics of each task."""
        return {key: value for task in tasks for key, value in scores(self.detections.matches(task), task).items()}


def evaluate(model: nn.Module, config: RunConfig, detector: Detector) -> Evaluation:
    """Measure a trained model on the test split, under the run's noise if that acts in evaluation, and the grid.

    On corrupted images it meets the run's own evaluation noise, or none.

    Raises:
        NoiseNotApplied: a noise never acted.
    """
    split = locate(config.dataset, "test")
    contents, name = check_annotations_file(split), register(split)
    tasks: tuple[Task, ...] = ("bbox", "segm") if detector.has_masks and contents.has_masks else ("bbox",)
    truth = json.loads(split.annotations.read_bytes())
    asked = partial(_asked, model, truth)
    own = asked(config.noise, 0)
    cells, clean = _under_each_noise(config, own, asked)
    passes = list(dict.fromkeys([own, *cells]))  # some cells are the same noise, or none
    others = _others(split, contents, name, detector)
    album = Album(truth, split.images, config.evaluation.pictures)
    mapper = detector.mapper(name, augmented=False, annotated=False)
    load = partial(_loaded, name=name, config=config, workers=detector.loader_config.workers)
    loader, conditions = load(mapper), config.evaluation.conditions()
    countdown = Countdown(len(loader) * (len(passes) + len(conditions)))
    _infer(model, loader, passes, countdown, [album.add, *(evaluator.process for evaluator, _ in others)])
    corruptions = []
    for corruption, severity in conditions:
        one = asked(config.noise, 0)
        _infer(model, load(CorruptedMapper(mapper, corruption, severity)), [one], countdown)
        corruptions.append(CorruptionScore(corruption, severity, one.scores(tasks)))
    for one in passes:
        one.injection.check_applied()
    found = {one: one.scores(tasks) for one in passes}
    grid = tuple(
        GridScore(cell.type, cell.sigma, cell.levels, cell.draw, found[one], one.injection.telemetry())
        for cell, one in zip(config.evaluation.noise_grid.cells(), cells, strict=True)
    )
    metrics = dict(found[own])
    for evaluator, told in others:
        metrics |= told(evaluator)
    metrics |= under_noise(grid, found[clean] if clean else None, tasks)
    metrics |= under_corruption(corruptions, found[own], tasks)
    return Evaluation(
        metrics,
        () if len(own.detections) else ("no detections: every AP is 0",),
        own.injection.telemetry(),
        {task: own.detections.matches(task) for task in tasks},
        grid,
        tuple(corruptions),
        {task: own.detections.error_shift(task) for task in tasks},
        album.pictures(),
    )


def _others(split: Split, contents: AnnotationSummary, name: str, detector: Detector) -> list[tuple[Any, _Told]]:
    """Detectron2's own evaluators of what the model finds besides boxes and masks, each with what reads its numbers."""
    found: list[tuple[Any, _Told]] = []
    if detector.has_keypoints and contents.has_keypoints:
        found.append((keypoint_evaluator(name, detector.oks_sigmas), keypoint_metrics))
    if detector.semantic and split.sem_seg:
        found.append((semantic_evaluator(split, detector.semantic), semantic_metrics))
    return found


def _asked(model: nn.Module, truth: Mapping[str, Any], noise: NoiseConfig, draw: int) -> _Pass:
    return _Pass(Injection(model, noise, phase="eval", draw=draw), Detections(truth))


def _under_each_noise(
    config: RunConfig, own: _Pass, asked: Callable[[NoiseConfig, int], _Pass]
) -> tuple[list[_Pass], _Pass | None]:
    """The pass of each cell of the grid, and the one without noise if there is one; all that have none share it."""
    clean = own if not config.noise.acts("eval") else None
    passes = []
    for cell in config.evaluation.noise_grid.cells():
        if cell.noise.acts("eval"):
            passes.append(asked(cell.noise, cell.draw))
        else:
            clean = clean or asked(cell.noise, cell.draw)
            passes.append(clean)
    return passes, clean


def _loaded(mapper: Mapper, *, name: str, config: RunConfig, workers: int) -> Any:
    return evaluation_loader(partial(_unannotated, mapper), name, config.evaluation.batch_size, workers)


def _unannotated(mapper: Mapper, entry: dict[str, Any]) -> dict[str, Any]:
    """Detectron2's mapper would copy every polygon, only to drop it."""
    return mapper({key: value for key, value in entry.items() if key != "annotations"})


def _infer(
    model: nn.Module, loader: Any, passes: Sequence[_Pass], countdown: Countdown, watchers: Sequence[BatchCallback] = ()
) -> None:
    """Ask the model about each batch once for each pass; the watchers see what the first one gave."""
    model.eval()
    with torch.no_grad(), SharedFeatures(model) as shared:
        for batch in loader:
            shared.forget()
            for number, one in enumerate(passes):
                countdown.tell()
                if one.injection.is_inside_backbone:
                    shared.forget()
                with one.injection:
                    outputs = model(batch)
                if one.injection.is_inside_backbone:
                    shared.forget()
                one.detections.add(batch, outputs)
                for watch in watchers if number == 0 else ():
                    watch(batch, outputs)
                countdown.done += 1
