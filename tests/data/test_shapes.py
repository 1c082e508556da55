"""What the generated set promises: COCO format that pycocotools reads, exact masks, balance, occlusion, determinism."""

import contextlib
import hashlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from ablation.data.shapes.appearance import OUTLINES
from ablation.data.shapes.generate import ShapesSpec, generate, trace

SPECS = {style: ShapesSpec(train_images=80, test_images=40, style=style) for style in ("shapes", "glyphs")}


@pytest.fixture(scope="module", params=SPECS)
def generated(request, tmp_path_factory):
    spec = SPECS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    generate(spec, folder)
    return spec, folder


def load(folder, split):
    return json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))


def decode(annotation, size):
    parts = mask_utils.frPyObjects(annotation["segmentation"], size, size)
    return mask_utils.decode(mask_utils.merge(parts)).astype(bool)


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_every_image_has_a_file_of_the_stated_size(generated):
    spec, folder = generated
    for split, count in (("train", spec.train_images), ("test", spec.test_images)):
        images = load(folder, split)["images"]
        assert len(images) == count == len(list((folder / split).iterdir()))
        for image in images:
            pixels = cv2.imread(str(folder / split / image["file_name"]))
            assert pixels.shape == (image["height"], image["width"], 3) == (128, 128, 3)


def test_ids_are_unique_over_both_splits_and_refer_to_something(generated):
    _, folder = generated
    splits = [load(folder, split) for split in ("train", "test")]
    for kind in ("images", "annotations"):
        ids = [item["id"] for coco in splits for item in coco[kind]]
        assert len(ids) == len(set(ids))
    for coco in splits:
        assert {a["image_id"] for a in coco["annotations"]} <= {i["id"] for i in coco["images"]}
        assert {a["category_id"] for a in coco["annotations"]} == {c["id"] for c in coco["categories"]}


def test_boxes_and_areas_are_those_of_the_decoded_masks(generated):
    spec, folder = generated
    for split in ("train", "test"):
        for annotation in load(folder, split)["annotations"]:
            mask = decode(annotation, spec.image_size)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == [
                columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
            ]  # fmt: skip


def test_polygons_stay_inside_the_image(generated):
    spec, folder = generated
    for split in ("train", "test"):
        for annotation in load(folder, split)["annotations"]:
            assert isinstance(annotation["segmentation"], list)
            for polygon in annotation["segmentation"]:
                assert len(polygon) >= 6
                assert len(polygon) % 2 == 0
                assert min(polygon) >= 0 and max(polygon) <= spec.image_size


def test_pycocotools_reads_it_and_its_own_truth_scores_100(generated):
    from pycocotools.cocoeval import COCOeval

    _, folder = generated
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "test.json"))
        keys = ("image_id", "category_id", "segmentation", "bbox")
        found = [{k: a[k] for k in keys} | {"score": 1.0} for a in truth.loadAnns(truth.getAnnIds())]
        for detection, annotation in zip(found, truth.loadAnns(truth.getAnnIds()), strict=True):
            detection["segmentation"] = truth.annToRLE(annotation)
        evaluation = COCOeval(truth, truth.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_masks_of_one_image_do_not_overlap(generated):
    spec, folder = generated
    covered = Counter()
    for annotation in load(folder, "test")["annotations"]:
        covered[annotation["image_id"]] = covered[annotation["image_id"]] + decode(annotation, spec.image_size).astype(
            int
        )
    assert all(count.max() == 1 for count in covered.values())


def test_some_objects_are_occluded(generated):
    # An object in front of another leaves a box that a third of the area or more belongs to somebody else.
    _, folder = generated
    annotations = load(folder, "train")["annotations"]
    by_image = {}
    for annotation in annotations:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    touching = sum(overlap(a, b) > 0 for group in by_image.values() for a in group for b in group if a is not b)
    assert touching / len(annotations) > 0.3
    assert any(len(annotation["segmentation"]) > 1 for annotation in annotations)


def overlap(one, other):
    (x, y, w, h), (u, v, s, t) = one["bbox"], other["bbox"]
    return max(0, min(x + w, u + s) - max(x, u)) * max(0, min(y + h, v + t) - max(y, v))


def test_classes_are_balanced(generated):
    spec, folder = generated
    counts = Counter(a["category_id"] for a in load(folder, "train")["annotations"])
    expected = sum(counts.values()) / len(OUTLINES[spec.style])
    assert all(0.6 * expected < count < 1.4 * expected for count in counts.values())


def test_objects_are_small_and_medium_in_cocos_terms(generated):
    _, folder = generated
    areas = np.array([a["area"] for a in load(folder, "train")["annotations"]])
    small = np.mean(areas < 32**2)
    assert 0.3 < small < 0.9
    assert areas.min() >= 40
    assert areas.max() < 96**2


def test_every_image_shows_an_object(generated):
    _, folder = generated
    for split in ("train", "test"):
        coco = load(folder, split)
        assert {a["image_id"] for a in coco["annotations"]} == {i["id"] for i in coco["images"]}


def test_train_and_test_images_differ(generated):
    _, folder = generated
    train, test = ({hashlib.sha256(p.read_bytes()).digest() for p in (folder / s).iterdir()} for s in ("train", "test"))
    assert not train & test


def test_same_spec_same_bytes_other_seed_other_bytes(tmp_path):
    spec = ShapesSpec(train_images=5, test_images=3)
    for name, chosen in (("a", spec), ("b", spec), ("c", ShapesSpec(seed=1, train_images=5, test_images=3))):
        generate(chosen, tmp_path / name)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert not {v for k, v in digest(tmp_path / "a").items() if k.endswith("png")} & set(
        digest(tmp_path / "c").values()
    )


def test_more_images_keep_the_earlier_ones(tmp_path):
    generate(ShapesSpec(train_images=3, test_images=2), tmp_path / "few")
    generate(ShapesSpec(train_images=6, test_images=2), tmp_path / "more")
    few, more = digest(tmp_path / "few"), digest(tmp_path / "more")
    del few["train.json"]
    assert few.items() <= more.items()


def test_other_image_sizes_work(tmp_path):
    generate(ShapesSpec(train_images=4, test_images=1, image_size=64), tmp_path)
    assert cv2.imread(str(tmp_path / "train" / "0000001.png")).shape == (64, 64, 3)
    assert load(tmp_path, "train")["annotations"]


def test_the_styles_share_no_class():
    assert not OUTLINES["shapes"].keys() & OUTLINES["glyphs"].keys()
    assert list(OUTLINES["shapes"]) == ["rectangle", "triangle", "ellipse"]


def test_traced_outlines_decode_to_the_same_pixels():
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = cv2.resize(rng.random((8, 8)), (40, 40), interpolation=cv2.INTER_CUBIC) > 0.5
        filled = np.zeros((40, 40), np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
        polygons = [part.reshape(-1).tolist() for part in trace(filled.astype(bool))]
        decoded = mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(polygons, 40, 40)))
        assert (decoded == filled).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be >= 0, got -1."),
        ({"image_size": 16}, "image_size must be >= 32 pixels, got 16."),
        ({"style": "runes"}, "style must be one of shapes, glyphs, got 'runes'."),
        ({"train_images": -1}, "train_images must be >= 0, got -1."),
    ],
)
def test_a_bad_spec_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ShapesSpec(**arguments)


def test_generating_needs_no_torch():
    code = "import sys, ablation.data.shapes.generate; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"
