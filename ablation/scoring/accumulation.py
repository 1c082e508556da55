"""COCO's numbers from stored matches, over any multiset of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ablation.scoring.curves import FloatArray, IntArray, bits_of, curve_of, needed_for, rows_of, running
from ablation.scoring.matches import AREAS, MAX_DETECTIONS, THRESHOLDS, Matches, ranks

_ALL = tuple(range(len(THRESHOLDS)))

# By detectron2's names: area and thresholds of a precision, area and detections per image of a recall.
_PRECISIONS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "AP": ("all", _ALL),
    "AP50": ("all", (THRESHOLDS.index(0.5),)),
    "AP75": ("all", (THRESHOLDS.index(0.75),)),
    "APs": ("small", _ALL),
    "APm": ("medium", _ALL),
    "APl": ("large", _ALL),
}
_RECALLED: Mapping[str, tuple[str, int]] = {
    "AR1": ("all", 1),
    "AR10": ("all", 10),
    "AR100": ("all", MAX_DETECTIONS),
    "ARs": ("small", MAX_DETECTIONS),
    "ARm": ("medium", MAX_DETECTIONS),
    "ARl": ("large", MAX_DETECTIONS),
}
METRICS = (*_PRECISIONS, *_RECALLED)


def accumulate(matches: Matches, weights: NDArray[np.integer] | None = None) -> dict[str, float]:
    """All twelve numbers of COCO and the AP of each class (AP-name), in percent; NaN where there is no ground truth.

    weights: (I,) how often each image counts; once each by default. The result is that of pycocotools for a data set
        with as many copies of each image, whose ids keep the images' order and put copies side by side. (Only where
        scores are equal does the order matter.)
    """
    given = np.ones(len(matches.image_ids), np.int64) if weights is None else np.asarray(weights)
    names = (*METRICS, *_class_metrics(matches))
    return dict(zip(names, resampled(matches, given[np.newaxis], names)[0].tolist(), strict=True))


def resampled(matches: Matches, weights: NDArray[np.integer], metrics: Sequence[str] = ("AP",)) -> FloatArray:
    """What `accumulate` gives for each row of weights, but only the metrics that are asked for.

    weights: (B, I) how often each image counts in each of B data sets, 0 or more.
    metrics: M names, of METRICS or AP-<class>.
    Returns (B, M) percent; NaN where there is no ground truth.
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
    """The name of each class's AP, with the position of the class."""
    return {f"AP-{name}": position for position, name in enumerate(matches.category_names.tolist())}


class _Scorer:
    """Some metrics as a function of the images' weights, of which `most` (I,) are the largest to come."""

    def __init__(self, matches: Matches, metrics: Sequence[str], most: NDArray[np.integer]) -> None:
        self._matches = matches
        self._metrics = metrics
        self._classes = _class_metrics(matches)
        self._rows = rows_of(matches, most)
        wanted = [_PRECISIONS.get(name, _PRECISIONS["AP"]) for name in metrics if name not in _RECALLED]
        self._curves = {
            area: {t: curve_of(self._rows, area, t) for t in sorted({t for a, ts in wanted if a == area for t in ts})}
            for area in {area for area, _ in wanted}
        }
        self._areas = {area for area, _ in (*wanted, *(_RECALLED[name] for name in metrics if name in _RECALLED))}
        self._found = {name: _found(matches, *_RECALLED[name]) for name in metrics if name in _RECALLED}

    def __call__(self, weights: IntArray) -> list[float]:
        """(I,) weights of images to the metrics."""
        weight = self._rows.weighted(weights)
        seen = running(weight)
        truths = {area: self._truths(weights, area) for area in self._areas}
        needed = {area: needed_for(truths[area]) for area in self._curves}
        precision = {
            area: np.array([curve.precision(weight, seen, needed[area]) for curve in curves.values()])
            for area, curves in self._curves.items()
        }
        return [
            self._recall(name, weights, truths[_RECALLED[name][0]])
            if name in _RECALLED
            else self._precision(name, precision, truths)
            for name in self._metrics
        ]

    def _truths(self, weights: IntArray, area: str) -> IntArray:
        """(K,) ground truths to be found."""
        matches = self._matches
        count = weights[matches.truth_image] * matches.truth_count[:, list(AREAS).index(area)]
        return _summed(count, matches.truth_category, len(matches.category_ids))

    def _precision(self, name: str, precision: Mapping[str, FloatArray], truths: Mapping[str, IntArray]) -> float:
        area, thresholds = _PRECISIONS.get(name, _PRECISIONS["AP"])
        chosen = np.flatnonzero(truths[area])
        if name in self._classes:
            chosen = chosen[chosen == self._classes[name]]
        known = list(self._curves[area])
        return _mean(precision[area][:, :, chosen][[known.index(t) for t in thresholds]])

    def _recall(self, name: str, weights: IntArray, truths: IntArray) -> float:
        image, category = self._matches.image, self._matches.category
        totals = [_summed(weights[image[true]], category[true], len(truths)) for true in self._found[name]]
        chosen = np.flatnonzero(truths)
        return _mean(np.array(totals)[:, chosen] / truths[chosen])


def _mean(values: FloatArray) -> float:
    """Mean in percent, NaN of nothing."""
    # In one dimension, threshold by threshold, because pycocotools adds them so.
    return float(np.mean(values.ravel()) * 100) if values.size else float("nan")


def _summed(values: IntArray, category: NDArray[np.int32], classes: int) -> IntArray:
    """Sums by class."""
    return np.bincount(category, values, classes).astype(np.int64)  # exact: floats hold these integers


def _found(matches: Matches, area: str, most: int) -> list[NDArray[np.intp]]:
    """Per threshold, the true positives among the first `most` detections of each image and class."""
    is_true = bits_of(matches.matched & ~matches.ignored, area)
    if most < MAX_DETECTIONS:
        order = np.lexsort((matches.image, matches.category))
        is_true[order[ranks(matches.image[order], matches.category[order]) >= most]] = 0
    return [np.flatnonzero(is_true >> threshold & 1) for threshold in _ALL]
