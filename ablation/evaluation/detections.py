"""Detections of a model in the images of a split, as COCO results, and their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.evaluation.coco_evaluation import instances_to_coco_json

from ablation.evaluation.matching import Task, match
from ablation.evaluation.tide import error_shift
from ablation.scoring import Matches, accumulate

_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # those of detectron2


class Detections:
    """Collects the outputs of a model; `truth` is the COCO data set to score them against."""

    def __init__(self, truth: Mapping[str, Any]) -> None:
        self._category_ids = sorted(category["id"] for category in truth["categories"])  # as detectron2 numbers them
        self._truth = truth
        self._results: list[dict[str, Any]] = []
        self._matches: dict[Task, Matches] = {}

    def __len__(self) -> int:
        return len(self._results)

    def add(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add the detections of a batch."""
        self._matches.clear()
        for image, output in zip(inputs, outputs, strict=True):
            if "instances" not in output:
                continue
            instances = output["instances"].to("cpu")
            if instances.has("pred_keypoints"):
                instances.remove("pred_keypoints")  # instances_to_coco_json would move them by half a pixel in place
            for result in instances_to_coco_json(instances, image["image_id"]):
                self._results.append(result | {"category_id": self._category_ids[result["category_id"]]})

    def matches(self, task: Task) -> Matches:
        """Return which detections are right, at each threshold and size."""
        if task not in self._matches:
            self._matches[task] = match(self._truth, self._results, task)
        return self._matches[task]

    def scores(self, tasks: Sequence[Task]) -> dict[str, float | None]:
        """Return the metrics by detectron2's names, in percent; None where there is no ground truth of that kind."""
        metrics: dict[str, float | None] = {}
        for task in tasks:
            numbers = accumulate(self.matches(task))
            names = self.matches(task).category_names.tolist()
            # The AP of a single class is the AP itself.
            for key in (*_METRICS, *(f"AP-{name}" for name in names if len(names) > 1)):
                metrics[f"{task}/{key}"] = None if math.isnan(numbers[key]) else numbers[key]
        return metrics

    def error_shift(self, task: Task) -> dict[str, float | None]:
        """Return TIDE's kinds of error in points of AP50; None where no class is left to score."""
        gains = error_shift(self._truth, self._results, task)
        return {name: None if math.isnan(gain) else gain for name, gain in gains.items() if name != "AP50"}
