"""COCO's metrics from stored matches, over any multiset of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ablation.scoring.curves import (
    FloatArray,
    IntArray,
    arrange_rows,
    cumulate,
    required_positives,
    select_area,
    trace_curve,
)
from ablation.scoring.matches import AREAS, MAX_DETECTIONS, THRESHOLDS, Matches, ranks

_ALL = tuple(range(len(THRESHOLDS)))

# By detectron2's names: area and thresholds of a precision, area and detections per image of a recall.
_PRECISION_METRICS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "AP": ("all", _ALL),
    "AP50": ("all", (THRESHOLDS.index(0.5),)),
    "AP75": ("all", (THRESHOLDS.index(0.75),)),
    "APs": ("small", _ALL),
    "APm": ("medium", _ALL),
    "APl": ("large", _ALL),
}
_RECALL_METRICS: Mapping[str, tuple[str, int]] = {
    "AR1": ("all", 1),
    "AR10": ("all", 10),
    "AR100": ("all", MAX_DETECTIONS),
    "ARs": ("small", MAX_DETECTIONS),
    "ARm": ("medium", MAX_DETECTIONS),
    "ARl": ("large", MAX_DETECTIONS),
}
METRICS = (*_PRECISION_METRICS, *_RECALL_METRICS)


def accumulate(matches: Matches, weights: NDArray[np.integer] | None = None) -> dict[str, float]:
    """Return COCO's twelve metrics and the AP of each class (AP-<class>).

    Args:
        matches: Of one run and task.
        weights: Number of times that each image counts, shape (I,); by default once. The result equals that of
            pycocotools for a data set with as many copies of each image, whose ids keep the order of the images and
            put copies side by side. The order matters only for equal scores.

    Returns:
        Percent by metric; NaN without ground truth.
    """
    row = np.ones(len(matches.image_ids), np.int64) if weights is None else np.asarray(weights)
    names = (*METRICS, *_class_metrics(matches))
    return dict(zip(names, score_resamples(matches, row[np.newaxis], names)[0].tolist(), strict=True))


def score_resamples(matches: Matches, weights: NDArray[np.integer], metrics: Sequence[str] = ("AP",)) -> FloatArray:
    """Return some metrics for each row of weights.

    Args:
        matches: Of one run and task.
        weights: Number of times that each image counts in each of B data sets, shape (B, I), not negative.
        metrics: M names from METRICS, or AP-<class>.

    Returns:
        Percent, shape (B, M); NaN without ground truth.

    Raises:
        ValueError: An unknown metric, or weights of another shape or below 0.
    """
    if unknown := set(metrics) - {*METRICS, *_class_metrics(matches)}:
        known = ", ".join((*METRICS, *_class_metrics(matches)))
        raise ValueError(f"Unknown metrics {sorted(unknown)}; there are {known}.")
    if weights.shape[1:] != matches.image_ids.shape or weights.min(initial=0) < 0:
        raise ValueError(f"Weights must be (B, {len(matches.image_ids)}) and not negative, not {weights.shape}.")
    scorer = _Scorer(matches, metrics, weights.max(axis=0, initial=0))
    scores = [scorer(row) for row in weights.astype(np.int64)]
    return np.array(scores, np.float64).reshape(len(weights), len(metrics))


def _class_metrics(matches: Matches) -> dict[str, int]:
    """Return the position of each class by the name of its AP."""
    return {f"AP-{name}": position for position, name in enumerate(matches.category_names.tolist())}


class _Scorer:
    """Metrics as a function of the weights of the images, which must not exceed `most`, shape (I,)."""

    def __init__(self, matches: Matches, metrics: Sequence[str], most: NDArray[np.integer]) -> None:
        self._matches = matches
        self._metrics = metrics
        self._classes = _class_metrics(matches)
        self._rows = arrange_rows(matches, most)
        recalls = {name: _RECALL_METRICS[name] for name in metrics if name in _RECALL_METRICS}
        wanted = [_PRECISION_METRICS.get(name, _PRECISION_METRICS["AP"]) for name in metrics if name not in recalls]
        self._curves = {
            area: {
                t: trace_curve(self._rows, area, t) for t in sorted({t for a, ts in wanted if a == area for t in ts})
            }
            for area in {area for area, _ in wanted}
        }
        self._areas = {area for area, _ in (*wanted, *recalls.values())}
        self._found = {name: _find_true_positives(matches, *recall) for name, recall in recalls.items()}

    def __call__(self, weights: IntArray) -> list[float]:
        """Return the metrics for weights of the images, shape (I,)."""
        weight = self._rows.weighted(weights)
        seen = cumulate(weight)
        truths = {area: self._truths(weights, area) for area in self._areas}
        needed = {area: required_positives(truths[area]) for area in self._curves}
        precision = {
            area: np.array([curve.precision(weight, seen, needed[area]) for curve in curves.values()])
            for area, curves in self._curves.items()
        }
        return [
            self._recall(name, weights, truths[_RECALL_METRICS[name][0]])
            if name in _RECALL_METRICS
            else self._precision(name, precision, truths)
            for name in self._metrics
        ]

    def _truths(self, weights: IntArray, area: str) -> IntArray:
        """Return the weighted number of ground truths of each class, shape (K,)."""
        matches = self._matches
        count = weights[matches.truth_image] * matches.truth_count[:, list(AREAS).index(area)]
        return _sum_by_class(count, matches.truth_category, len(matches.category_ids))

    def _precision(self, name: str, precision: Mapping[str, FloatArray], truths: Mapping[str, IntArray]) -> float:
        area, thresholds = _PRECISION_METRICS.get(name, _PRECISION_METRICS["AP"])
        chosen = np.flatnonzero(truths[area])
        if name in self._classes:
            chosen = chosen[chosen == self._classes[name]]
        known = list(self._curves[area])
        return _mean_percent(precision[area][:, :, chosen][[known.index(t) for t in thresholds]])

    def _recall(self, name: str, weights: IntArray, truths: IntArray) -> float:
        image, category = self._matches.image, self._matches.category
        totals = [_sum_by_class(weights[image[true]], category[true], len(truths)) for true in self._found[name]]
        chosen = np.flatnonzero(truths)
        return _mean_percent(np.array(totals)[:, chosen] / truths[chosen])


def _mean_percent(values: FloatArray) -> float:
    # pycocotools adds them in one dimension, threshold by threshold.
    return float(np.mean(values.ravel()) * 100) if values.size else float("nan")


def _sum_by_class(values: IntArray, category: NDArray[np.int32], classes: int) -> IntArray:
    return np.bincount(category, values, classes).astype(np.int64)  # exact: floats represent these integers


def _find_true_positives(matches: Matches, area: str, most: int) -> list[NDArray[np.intp]]:
    """Return by threshold the true positives among the first `most` detections of each image and class."""
    is_true = select_area(matches.matched & ~matches.ignored, area)
    if most < MAX_DETECTIONS:
        order = np.lexsort((matches.image, matches.category))
        is_true[order[ranks(matches.image[order], matches.category[order]) >= most]] = 0
    return [np.flatnonzero(is_true >> threshold & 1) for threshold in _ALL]
