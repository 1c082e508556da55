"""Random COCO data sets that hold every special case of COCO scoring, and pycocotools' verdict on them."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 160  # pixels; large enough for COCO's three sizes


def random_case(seed: int, task: str, images: int | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and detections of a few images; the seed decides which special cases there are."""
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(rng.choice(1000, images or int(rng.integers(1, 7)), replace=False) + 1).tolist()
    category_ids = rng.permutation(rng.choice(90, int(rng.integers(1, 6)), replace=False) + 1).tolist()
    with_truth = category_ids[: int(rng.integers(1, len(category_ids) + 1))]
    step = float(rng.choice([0.0, 16.0]))  # boxes on a coarse grid have equal IoUs
    annotations = []
    for image in image_ids:
        if rng.random() < 0.2:
            continue
        for _ in range(int(rng.integers(1, 9))):
            box = _random_box(rng, step)
            annotations.append(_annotation(rng, image, int(rng.choice(with_truth)), box, task))
    for number, position in enumerate(rng.permutation(len(annotations)).tolist(), 1):
        annotations[position]["id"] = number
    detections = [] if seed % 17 == 0 else _detections(rng, image_ids, category_ids, annotations, step, task)
    ground_truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE} for i in image_ids],
        "annotations": annotations,
        "categories": [{"id": c, "name": f"class {c}"} for c in category_ids],
    }
    return ground_truth, detections


def _random_box(rng: np.random.Generator, step: float) -> list[float]:
    corner = rng.uniform(0, SIDE * 0.6, 2)
    size = rng.uniform(4, SIDE - corner.max()) * rng.uniform(0.6, 1, 2)
    box = np.concatenate([corner, size])
    if step:
        box = np.maximum(np.round(box / step), [0, 0, 1, 1]) * step
    return np.round(box, 2).tolist()


def _annotation(rng: np.random.Generator, image: int, category: int, box: list[float], task: str) -> dict[str, Any]:
    crowd = int(rng.random() < 0.15)
    area = box[2] * box[3] * float(rng.choice([1.0, 0.3]))
    annotation = {"image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
    if rng.random() < 0.2:
        annotation["ignore"] = int(rng.integers(2))
    if rng.random() < 0.05:
        annotation["area"] = float(rng.choice([32.0**2, 96.0**2]))  # belongs to two sizes
    if task == "segm":
        rle = _rle(rng, box)
        kind = rng.integers(3)
        if crowd or kind == 0:
            bitmap = masks.decode(rle).flatten(order="F")
            edges = np.flatnonzero(np.diff(np.concatenate([[0], bitmap])))
            annotation["segmentation"] = {
                "size": [SIDE, SIDE],
                "counts": np.diff(np.concatenate([[0], edges, [len(bitmap)]])).tolist(),
            }
        else:
            annotation["segmentation"] = [_polygon(rng, box)] if kind == 1 else rle
    return annotation


def _polygon(rng: np.random.Generator, box: list[float]) -> list[float]:
    x, y, width, height = box
    cut = float(rng.uniform(0, 0.4))
    corners = [(cut, 0), (1, 0), (1, 1 - cut), (1 - cut, 1), (0, 1), (0, cut)]
    return [value for u, v in corners for value in (x + u * width, y + v * height)]


def _rle(rng: np.random.Generator, box: list[float]) -> dict[str, Any]:
    rle = masks.merge(masks.frPyObjects([_polygon(rng, box)], SIDE, SIDE))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def _detections(rng, image_ids, category_ids, annotations, step, task) -> list[dict[str, Any]]:
    digits = int(rng.choice([1, 2, 6]))  # one digit: many ties in score
    found = []
    for annotation in annotations:
        for _ in range(int(rng.integers(0, 4))):
            jitter = rng.normal(0, rng.choice([0.0, 0.03, 0.15]), 4) * annotation["bbox"][2]
            box = np.maximum(np.array(annotation["bbox"]) + jitter, [0, 0, 1, 1]).tolist()
            category = annotation["category_id"] if rng.random() < 0.85 else int(rng.choice(category_ids))
            found.append((annotation["image_id"], category, box))
    found += [
        (int(rng.choice(image_ids)), int(rng.choice(category_ids)), _random_box(rng, step))
        for _ in range(int(rng.integers(0, 12)))
    ]
    if rng.random() < 0.1:  # more than the hundred that count
        crowded, category = int(rng.choice(image_ids)), int(rng.choice(category_ids))
        found += [(crowded, category, _random_box(rng, step)) for _ in range(120)]
    if rng.random() < 0.1:
        found.append((int(rng.choice(image_ids)), 999, _random_box(rng, step)))  # a class that nobody knows
    detections = []
    for position in rng.permutation(len(found)).tolist():
        image, category, box = found[position]
        detection = {"image_id": image, "category_id": category, "score": round(float(rng.random()), digits)}
        detection |= {"bbox": box} if task == "bbox" else {"segmentation": _rle(rng, box)}
        detections.append(detection)
    return detections


def reference(ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: str) -> COCOeval:
    """pycocotools' evaluation, summarised."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = copy.deepcopy(ground_truth)
        truth.createIndex()
        if detections:
            found = truth.loadRes(copy.deepcopy(detections))
        evaluation = COCOeval(truth, found, task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def repeated(
    ground_truth: dict[str, Any], detections: list[dict[str, Any]], weights: dict[int, int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The data set in which image i occurs weights[i] times; copies get new ids, side by side in the old order."""
    copies, number = {}, 0
    for image in sorted(weights):
        copies[image] = list(range(number + 1, number + 1 + weights[image]))
        number += weights[image]
    images = [{**image, "id": new} for image in ground_truth["images"] for new in copies[image["id"]]]
    annotations = [{**a, "image_id": new} for a in ground_truth["annotations"] for new in copies[a["image_id"]]]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    found = [{**d, "image_id": new} for d in detections for new in copies[d["image_id"]]]
    return {**ground_truth, "images": images, "annotations": annotations}, found
