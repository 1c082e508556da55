from __future__ import annotations

import copy
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as masks
from scoring_factory import random_case, reference, repeated

from ablation.evaluation.matching import match
from ablation.evaluation.tide import error_shift
from ablation.records.atomic import replacing
from ablation.records.errors import DataError, RecordError
from ablation.scoring import METRICS, Matches, accumulate, score_resamples
from ablation.scoring.curves import required_positives


def _percent(numbers):
    return [number * 100 if number > -1 else math.nan for number in numbers]


def _twelve(scores):
    return [scores[name] for name in METRICS]


def _equal(a, b):
    """To the last bit."""
    return np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("block", range(10))
def test_all_numbers_are_those_of_pycocotools(task, block):
    for seed in range(20 * block, 20 * block + 20):
        ground_truth, detections = random_case(seed, task)
        expected = reference(ground_truth, detections, task)
        scores = accumulate(match(ground_truth, detections, task))
        assert _equal(_twelve(scores), _percent(expected.stats)), seed
        precision = expected.eval["precision"][..., 0, -1]
        for position, category in enumerate(expected.params.catIds):
            own = precision[:, :, position][precision[:, :, position] > -1]
            wanted = np.mean(own) * 100 if own.size else math.nan
            assert _equal([scores[f"AP-class {category}"]], [wanted]), seed


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_decisions_are_those_of_pycocotools(task):
    for seed in range(200, 240):
        ground_truth, detections = random_case(seed, task)
        matches = match(ground_truth, detections, task)
        expected = reference(ground_truth, detections, task)
        images, categories = expected.params.imgIds, expected.params.catIds
        for number, entry in enumerate(expected.evalImgs):
            if entry is None:
                continue
            category, area, image = np.unravel_index(number, (len(categories), 4, len(images)))
            own = (matches.image == image) & (matches.category == category)
            bits = 10 * area + np.arange(10)[:, np.newaxis]
            assert _equal(matches.score[own], entry["dtScores"])
            assert _equal(matches.matched[own] >> bits & 1, entry["dtMatches"] != 0)
            assert _equal(matches.ignored[own] >> bits & 1, entry["dtIgnore"])
            pair = (matches.truth_image == image) & (matches.truth_category == category)
            assert matches.truth_count[pair, area].sum() == np.sum(entry["gtIgnore"] == 0)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_subsets_and_multisets_score_as_if_evaluated_afresh(task):
    for seed in range(80):
        ground_truth, detections = random_case(seed, task)
        matches = match(ground_truth, detections, task)
        weights = np.random.default_rng(seed).integers(0, 2 if seed % 2 else 5, len(matches.image_ids))
        if not weights.any():
            continue
        own = repeated(ground_truth, detections, dict(zip(matches.image_ids.tolist(), weights.tolist(), strict=True)))
        assert _equal(_twelve(accumulate(matches, weights)), _percent(reference(*own, task).stats)), seed


def test_many_multisets_at_once_score_as_one_by_one():
    rng = np.random.default_rng(0)
    for seed in range(20):
        matches = match(*random_case(seed, "bbox", images=12), "bbox")
        weights = rng.multinomial(12, np.full(12, 1 / 12), size=7)
        names = [*METRICS, f"AP-{matches.category_names[0]}"]
        alone = [accumulate(matches, row) for row in weights]
        expected = [[scores[name] for name in names] for scores in alone]
        assert _equal(score_resamples(matches, weights, names), expected)
        assert _equal(score_resamples(matches, weights), np.array(expected)[:, :1])
        assert _equal(score_resamples(matches, weights, ["AP75", "ARs"]), np.array(expected)[:, [2, 9]])


def test_the_order_of_equal_scores_within_an_image_is_kept_in_its_copies():
    image = {"id": 1, "width": 100, "height": 100}
    boxes = {"right": [0, 0, 40, 40], "wrong": [50, 50, 10, 10]}
    truth = {"id": 1, "image_id": 1, "category_id": 1, "bbox": boxes["right"], "area": 1600, "iscrowd": 0}
    ground_truth = {"images": [image], "annotations": [truth], "categories": [{"id": 1, "name": "a"}]}
    for order in (("right", "wrong"), ("wrong", "right")):
        found = [{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": boxes[name]} for name in order]
        expected = reference(*repeated(ground_truth, found, {1: 3}), "bbox").stats
        assert _equal(_twelve(accumulate(match(ground_truth, found, "bbox"), np.array([3]))), _percent(expected))


def test_of_equal_overlaps_the_last_ground_truth_is_taken():
    sides, between = ([0.0, 0.0, 40.0, 40.0], [20.0, 0.0, 40.0, 40.0]), [10.0, 0.0, 40.0, 40.0]
    common = {"image_id": 1, "category_id": 1}
    ground_truth = {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "annotations": [
            {**common, "id": number, "bbox": box, "area": 1600.0, "iscrowd": 0} for number, box in enumerate(sides, 1)
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    for other in sides:
        found = [{**common, "bbox": between, "score": 0.9}, {**common, "bbox": other, "score": 0.8}]
        expected = _percent(reference(ground_truth, found, "bbox").stats)
        assert _equal(_twelve(accumulate(match(ground_truth, found, "bbox"))), expected)
    assert expected[1] < 100  # the second side is no longer free


def test_an_annotation_numbered_0_is_never_matched_as_in_pycocotools():
    ground_truth, detections = random_case(3, "bbox")
    for annotation in ground_truth["annotations"]:
        annotation["id"] -= 1
    expected = reference(ground_truth, detections, "bbox")
    assert _equal(_twelve(accumulate(match(ground_truth, detections, "bbox"))), _percent(expected.stats))


def test_a_mask_with_a_box_is_sized_as_a_mask():
    ground_truth, detections = random_case(4, "segm")
    boxed = [{**detection, "bbox": [0.0, 0.0, 1.0, 1.0]} for detection in detections]
    alone = accumulate(match(ground_truth, detections, "segm"))
    assert _equal(list(accumulate(match(ground_truth, boxed, "segm")).values()), list(alone.values()))


def test_missing_crowd_flags_and_areas_are_those_of_plain_boxes():
    ground_truth, detections = random_case(5, "bbox")
    for annotation in ground_truth["annotations"]:
        annotation |= {"iscrowd": 0, "area": annotation["bbox"][2] * annotation["bbox"][3]}
    bare = copy.deepcopy(ground_truth)
    for annotation in bare["annotations"]:
        del annotation["iscrowd"], annotation["area"]
    expected = _twelve(accumulate(match(ground_truth, detections, "bbox")))
    assert _equal(_twelve(accumulate(match(bare, detections, "bbox"))), expected)


def test_a_crowd_without_a_mask_covers_its_box():
    ground_truth, detections = random_case(5, "segm")
    whole = copy.deepcopy(ground_truth)
    crowds = [number for number, a in enumerate(ground_truth["annotations"]) if number % 3 == 0 or a["iscrowd"]]
    for number in crowds:
        x, y, width, height = ground_truth["annotations"][number]["bbox"]
        outline = [x, y, x, y + height, x + width, y + height, x + width, y]
        whole["annotations"][number].update(iscrowd=1, segmentation=[outline])
        ground_truth["annotations"][number].update(iscrowd=1, segmentation=[])
    del ground_truth["annotations"][crowds[0]]["segmentation"]
    expected = reference(whole, detections, "segm")
    assert _equal(_twelve(accumulate(match(ground_truth, detections, "segm"))), _percent(expected.stats))
    assert error_shift(ground_truth, detections, "segm") == error_shift(whole, detections, "segm")


def test_an_object_without_a_mask_cannot_be_scored_by_masks():
    ground_truth, detections = random_case(4, "segm")
    ground_truth["annotations"][0].update(iscrowd=0, id=77)
    del ground_truth["annotations"][0]["segmentation"]
    with pytest.raises(DataError, match=r"Annotation 77 has no segmentation"):
        match(ground_truth, detections, "segm")


def test_nothing_detected_scores_0_where_there_is_ground_truth():
    ground_truth, _ = random_case(1, "bbox")
    scores = accumulate(match(ground_truth, [], "bbox"))
    sizes = {"APs": (0, 32**2), "APm": (32**2, 96**2), "APl": (96**2, 1e10)}
    present = [a["area"] for a in ground_truth["annotations"] if not a["iscrowd"]]
    assert scores["AP"] == scores["AP50"] == scores["AP75"] == scores["AR100"] == 0
    for name, (low, high) in sizes.items():
        assert scores[name] == 0 if any(low <= area <= high for area in present) else math.isnan(scores[name])


def test_without_ground_truth_there_is_no_score():
    ground_truth, detections = random_case(1, "bbox")
    scores = accumulate(match({**ground_truth, "annotations": []}, detections, "bbox"))
    assert all(math.isnan(score) for score in scores.values())


@pytest.mark.parametrize("seed", [3, 17])
@pytest.mark.parametrize("decimals", [2, None], ids=["float64", "float32"])
def test_saved_matches_come_back_whole(tmp_path, seed, decimals):
    ground_truth, detections = random_case(seed, "bbox")
    for detection in detections:
        if decimals is None:
            detection["score"] = float(np.float32(detection["score"]))
    matches = match(ground_truth, detections, "bbox")
    with replacing(tmp_path / "matches.npz") as temporary:
        matches.save(temporary)
    loaded = Matches.load(tmp_path / "matches.npz")
    for name, values in vars(matches).items():
        assert np.array_equal(getattr(loaded, name), values)
        assert getattr(loaded, name).dtype == values.dtype
    assert _equal(list(accumulate(loaded).values()), list(accumulate(matches).values()))


@pytest.mark.parametrize("damage", ["torn", "foreign", "schema"])
def test_what_is_no_file_of_matches_is_refused(tmp_path, damage):
    path = tmp_path / "matches.npz"
    match(*random_case(3, "bbox"), "bbox").save(path)
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "foreign":
        path.write_text(json.dumps({"no": "matches"}))
    else:
        with np.load(path) as file:
            np.savez(path, **{**file, "schema_version": 99})
    with pytest.raises(RecordError, match="cannot be read as matches"):
        Matches.load(path)


def test_ground_truth_may_be_a_file(tmp_path):
    ground_truth, detections = random_case(3, "bbox")
    (tmp_path / "test.json").write_text(json.dumps(ground_truth))
    scores = accumulate(match(tmp_path / "test.json", detections, "bbox"))
    assert _equal(_twelve(scores), _twelve(accumulate(match(ground_truth, detections, "bbox"))))


def test_what_is_given_is_left_as_it_was():
    ground_truth, detections = random_case(3, "segm")
    before = copy.deepcopy((ground_truth, detections))
    match(ground_truth, detections, "segm")
    assert (ground_truth, detections) == before


def test_detections_in_unknown_images_are_refused():
    ground_truth, detections = random_case(3, "bbox")
    stranger = {"image_id": 12345, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}
    with pytest.raises(DataError, match="12345"):
        match(ground_truth, [*detections, stranger], "bbox")


def test_unknown_metrics_and_wrong_weights_are_refused():
    matches = match(*random_case(3, "bbox"), "bbox")
    weights = np.ones((2, len(matches.image_ids)), int)
    with pytest.raises(ValueError, match=r"Unknown metrics \['AP60'\]; there are AP, AP50"):
        score_resamples(matches, weights, ["AP60"])
    with pytest.raises(ValueError, match="Weights must be"):
        score_resamples(matches, weights[:, 1:])
    with pytest.raises(ValueError, match="Weights must be"):
        score_resamples(matches, -weights)


def test_the_numbers_needed_for_recalls_are_where_the_search_finds_them():
    for total in [*range(1, 600), 12345, 36000]:
        recalls = np.arange(1, total + 1) / total
        expected = np.searchsorted(recalls, np.linspace(0, 1, 101)) + 1
        assert _equal(required_positives(np.array([total]))[0], expected)


def test_scoring_loads_numpy_and_no_other_package():
    def loaded(code):
        code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert set(loaded("import ablation.scoring")) - set(loaded("import numpy")) == {"ablation"}
    assert "numpy" in loaded("import ablation.scoring")


def test_hundreds_of_masks_are_scored():
    truth, _ = random_case(0, "segm", images=6)
    size = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    found = [
        {
            "image_id": image,
            "category_id": truth["categories"][0]["id"],
            "score": 1 / (1 + number),
            "segmentation": masks.encode(np.asfortranarray(np.ones(size[image], np.uint8))),
        }
        for number in range(1, 60)
        for image in size
    ]
    assert len(match(truth, found, "segm").score) == len(found) > 256
