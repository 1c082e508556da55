from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from scoring_factory import random_case

from ablation.evaluation.tide import error_shift

REFERENCE = json.loads((Path(__file__).parents[1] / "assets" / "tide.json").read_text())


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_all_numbers_are_those_of_tidecv(task):
    for row in REFERENCE["rows"]:
        if row["task"] != task:
            continue
        expected = {name: value for name, value in row.items() if name not in ("task", "seed")}
        assert error_shift(*random_case(row["seed"], task), task) == pytest.approx(expected, abs=1e-9), row["seed"]


def test_every_kind_of_error_is_in_the_reference():
    for name in ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"):
        assert sum(row[name] > 0.1 for row in REFERENCE["rows"]) > 10, name


def _scene(*detections):
    """One object of class 1 and detections (class, box, score)."""
    box = [0.0, 0.0, 40.0, 40.0]
    ground_truth = {
        "images": [{"id": 1, "file_name": "", "width": 100, "height": 100}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1600.0, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    found = [{"image_id": 1, "category_id": c, "bbox": b or box, "score": s} for c, b, s in detections]
    return error_shift(ground_truth, found, "bbox")


@pytest.mark.parametrize(
    ("kind", "detection"),
    [
        ("Cls", (2, None, 0.9)),
        ("Loc", (1, [20.0, 0.0, 40.0, 40.0], 0.9)),
        ("Both", (2, [20.0, 0.0, 40.0, 40.0], 0.9)),
        ("Bkg", (1, [60.0, 60.0, 10.0, 10.0], 0.9)),
    ],
)
def test_a_single_error_is_named(kind, detection):
    shift = _scene(detection, *([(1, None, 0.5)] if kind in ("Both", "Bkg") else []))
    others = {name for name, gain in shift.items() if name in ("Cls", "Loc", "Both", "Dupe", "Bkg") and gain > 0}
    assert others == {kind}


def test_half_an_overlap_with_a_taken_object_is_misplaced_not_repeated():
    ground_truth = {
        "images": [{"id": 1, "file_name": "", "width": 100, "height": 100}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": 1600.0, "iscrowd": 0}
            for number, box in enumerate(([0.0, 0.0, 40.0, 40.0], [60.0, 60.0, 40.0, 40.0]), 1)
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    boxes = {0.9: [0.0, 0.0, 40.0, 40.0], 0.5: [0.0, 0.0, 40.0, 20.0], 0.3: [60.0, 60.0, 40.0, 40.0]}
    found = [{"image_id": 1, "category_id": 1, "bbox": box, "score": score} for score, box in boxes.items()]
    shift = error_shift(ground_truth, found, "bbox")
    assert shift["Loc"] > 0 == shift["Dupe"]


def test_a_detector_without_errors_has_nothing_to_gain():
    shift = _scene((1, None, 0.9))
    assert shift.pop("AP50") == 100
    assert set(shift.values()) == {0.0}


def test_where_nothing_is_left_to_score_the_gain_is_missing():
    shift = _scene()
    assert shift["AP50"] == shift["Cls"] == 0
    assert math.isnan(shift["Miss"])
