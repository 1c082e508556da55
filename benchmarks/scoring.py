"""COCO scores: the whole evaluation against pycocotools, in turns, and the bootstrap of an evaluation of COCO's size.

    python -m benchmarks.scoring                 # about three minutes
    python -m benchmarks.scoring --resamples 100

Both evaluations start from the same Python lists and end with the twelve numbers, which must be equal; copying the
lists, which pycocotools writes into, is not counted. The detector is simulated: jittered boxes of the ground truth,
some of another class or doubled, and boxes of nothing, with scores that know a little of which is which.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table

from ablation.evaluation.matching import match
from ablation.scoring import METRICS, Matches, accumulate, score_resamples
from benchmarks.machine import write_result

CLASSES, TRUTHS = 80, 7.2  # COCO's classes, and about its objects in an image


def simulated(images: int, detections: int, seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth of images of 640 × 480 pixels, and so many detections in each."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    found = []
    for image in range(1, images + 1):
        count = 1 + rng.poisson(TRUTHS - 1)
        boxes, classes = _boxes(rng, count), rng.integers(1, CLASSES + 1, count)
        for box, class_ in zip(boxes, classes.tolist(), strict=True):
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": class_, "bbox": box.tolist()}
            annotations.append({**entry, "area": float(box[2] * box[3]), "iscrowd": int(rng.random() < 0.02)})
        near = rng.integers(0, count, detections)
        is_near = np.arange(detections) < 3 * count
        jittered = boxes[near] + rng.normal(0, 0.06, (detections, 4)) * boxes[near][:, [2, 3, 2, 3]]
        own = np.where(is_near[:, np.newaxis], jittered, _boxes(rng, detections))
        is_named = is_near & (rng.random(detections) < 0.8)
        names = np.where(is_named, classes[near], rng.integers(1, CLASSES + 1, detections))
        scores = rng.beta(np.where(is_named, 2.0, 0.6), 3.0).astype(np.float32)
        for box, class_, score in zip(own.tolist(), names.tolist(), scores.tolist(), strict=True):
            found.append({"image_id": image, "category_id": class_, "bbox": box, "score": score})
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, CLASSES + 1)],
    }, found


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.column_stack([rng.uniform(0, 400, (count, 2)), np.exp(rng.uniform(2.5, 5.5, (count, 2)))])


def by_pycocotools(ground_truth: dict[str, Any], found: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Seconds, and the twelve numbers in percent."""
    ground_truth, found = copy.deepcopy(ground_truth), copy.deepcopy(found)
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        truth = COCO()
        truth.dataset = ground_truth
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        seconds = time.perf_counter() - started
    return seconds, [number * 100 if number > -1 else math.nan for number in evaluation.stats]


def by_matches(ground_truth: dict[str, Any], found: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """The same by `match` and `accumulate`."""
    ground_truth, found = copy.deepcopy(ground_truth), copy.deepcopy(found)
    started = time.perf_counter()
    scores = accumulate(match(ground_truth, found, "bbox"))
    return time.perf_counter() - started, [scores[name] for name in METRICS]


def evaluation(images: int, detections: int, turns: int) -> dict[str, Any]:
    """Median seconds of both, and the median and range of the ratios of neighbouring turns."""
    data = simulated(images, detections)
    reference, own = [], []
    for _ in range(turns):
        seconds, expected = by_pycocotools(*data)
        reference.append(seconds)
        seconds, numbers = by_matches(*data)
        own.append(seconds)
        if numbers != expected:
            raise AssertionError(f"The numbers differ: {numbers} and {expected}.")
    ratios = [a / b for a, b in zip(reference, own, strict=True)]
    return {
        "what": "evaluation",
        "images": images,
        "detections_per_image": detections,
        "classes": CLASSES,
        "turns": turns,
        "seconds_pycocotools": statistics.median(reference),
        "seconds": statistics.median(own),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }


def bootstrap(images: int, detections: int, resamples: int, turns: int) -> dict[str, Any]:
    """Seconds of the AP of resamples of the images, on one core, and the size of what they are made from."""
    matches = match(*simulated(images, detections), "bbox")
    weights = np.random.default_rng(1).multinomial(images, np.full(images, 1 / images), size=resamples)
    wall, processor = [], []
    for _ in range(turns):
        started, busy = time.perf_counter(), time.process_time()
        values = score_resamples(matches, weights, ("AP",))[:, 0]
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - busy)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matches.npz"
        started = time.perf_counter()
        matches.save(path)
        saved = time.perf_counter() - started
        started = time.perf_counter()
        Matches.load(path)
        loaded = time.perf_counter() - started
        size = path.stat().st_size
    return {
        "what": "bootstrap",
        "images": images,
        "detections": len(matches.score),
        "ground_truths": int(matches.truth_count[:, 0].sum()),
        "resamples": resamples,
        "turns": turns,
        "seconds": statistics.median(wall),
        "seconds_processor": statistics.median(processor),
        "ap": accumulate(matches)["AP"],
        "standard_error": float(values.std(ddof=1)),
        "bytes_per_detection": size / len(matches.score),
        "seconds_save": saved,
        "seconds_load": loaded,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, leave a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="repetitions of the evaluation; the bootstrap has three")
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args(arguments)
    rows = [evaluation(500, 64, given.turns), bootstrap(5000, 50, given.resamples, 3)]
    first, second = rows
    table = Table(box=None)
    for heading in ("what", "figure"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    low, high = first["ratio_range"]
    table.add_row("evaluation, pycocotools", f"{first['seconds_pycocotools']:.2f} s")
    table.add_row("evaluation", f"{first['seconds']:.3f} s")
    table.add_row("ratio (range)", f"{first['ratio']:.0f} ({low:.0f}-{high:.0f})")
    table.add_row(f"{given.resamples} resamples", f"{second['seconds']:.1f} s")
    table.add_row("the same, processor", f"{second['seconds_processor']:.1f} s")
    table.add_row("stored, per detection", f"{second['bytes_per_detection']:.1f} bytes")
    Console().print(table)
    Console().print(f"Written: {write_result('scoring', rows)}")


if __name__ == "__main__":
    main()
