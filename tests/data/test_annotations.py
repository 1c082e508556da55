"""COCO files are accepted or refused in words, whatever they hold; the built-in set is there whole or not at all."""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask
from pycocotools.coco import COCO

from ablation.config.dataset import CocoJsonConfig, ShapesConfig
from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.data.coco import segmentations
from ablation.data.shapes import generate as shapes
from ablation.data.splits import Split
from ablation.records.errors import DataError

ROOT = Path(__file__).parents[2]

compressed = mask.encode(np.asfortranarray(np.tri(64, dtype=np.uint8)))["counts"].decode()


def _split(folder):
    return Split(folder / "train.json", folder / "images")


def _refusal(split):
    with pytest.raises(DataError) as refused:
        _ = split.summary
    return str(refused.value)


def _set(section, index, **values):
    return lambda data: data[section][index].update(values)


def _drop(section, index, key):
    return lambda data: data[section][index].pop(key)


def test_a_valid_split_is_counted(coco_folder):
    contents = _split(coco_folder(images=3)).summary
    assert (contents.images, contents.instances, contents.categories) == (3, 6, ((1, "square"), (7, "box")))
    assert contents.has_masks and not contents.has_rle


def test_crowds_decide_nothing_about_masks(coco_folder):
    crowd = {"iscrowd": 1, "segmentation": {"size": [64, 64], "counts": [0, 64 * 64]}}
    assert not _split(coco_folder("polygons", edit=_set("annotations", 0, **crowd))).summary.has_rle
    boxes = coco_folder("boxes", edit=lambda data: [a.update(segmentation=[]) for a in data["annotations"][1:]])
    assert not _split(boxes).summary.has_masks


def test_splits_with_other_categories_are_refused(compose, coco_folder):
    folder = coco_folder()
    other = coco_folder("other", edit=lambda d: d["categories"][1].update(name="bin"))
    files = [
        f"dataset.{split}_{what}={where / file}"
        for split, where in (("train", folder), ("test", other))
        for what, file in (("json", f"{split}.json"), ("images", "images"))
    ]
    dataset = build_dataset(validate_config(compose("dataset=coco_json", *files)).dataset)
    with pytest.raises(DataError, match=r"differ \(id 7 is 'box' in one, 'bin' in the other\)\. Detections"):
        dataset.survey()


def test_boxes_alone_are_a_data_set_without_masks(coco_folder):
    folder = coco_folder(edit=lambda data: [a.pop("segmentation") for a in data["annotations"]])
    assert not _split(folder).summary.has_masks


@pytest.mark.parametrize("counts", [[0, 64 * 64], compressed])
def test_run_lengths_are_masks(coco_folder, counts):
    folder = coco_folder(edit=_set("annotations", 0, segmentation={"size": [64, 64], "counts": counts}))
    contents = _split(folder).summary
    assert contents.has_masks and contents.has_rle


MALFORMED = [
    (lambda d: d.pop("images"), "'images' must be a list of objects, its keys are ['info', 'annotations', 'categ"),
    (lambda d: d.update(images={}), "'images' must be a list of objects, got an object. Give a file in COCO format."),
    (lambda d: d.update(annotations=[1]), "'annotations' must be a list of objects, got a list. Give a file in"),
    (lambda d: d.update(categories=None), "'categories' must be a list of objects, got null. Give a file in COCO"),
    (lambda d: d.update(images=[]), "contains no images. Give a file with at least one."),
    (lambda d: d.update(annotations=[]), "contains no annotations. Give a file with at least one."),
    (lambda d: d.update(categories=[]), "contains no categories. Give a file with at least one."),
    (_drop("images", 0, "id"), "an entry of image has no integer id, got None."),
    (_set("images", 0, id="1"), "an entry of image has no integer id, got '1'."),
    (_set("images", 0, id=True), "an entry of image has no integer id, got True."),
    (_set("images", 0, id=2**70), f"an entry of image has no integer id, got {2**70}."),
    (_set("images", 1, id=1), "image id 1 occurs more than once (1 such ids)."),
    (_drop("images", 0, "file_name"), "image 1 has no file_name, got None."),
    (_set("images", 0, file_name=7), "image 1 has no file_name, got 7."),
    (_set("images", 0, file_name="none.png"), "1 of 2 images of"),
    (_set("images", 0, file_name=""), "the first is ''. Set the folder of the images (dataset.train_images"),
    (_set("images", 0, file_name="a\0b"), "the first is 'a\\x00b'."),
    (_set("images", 0, file_name="\ud800"), "the first is '\\ud800'."),
    (_set("images", 0, file_name="x" * 5000), f"the first is '{'x' * 79}... (File name too long)."),
    (_set("images", 0, width=0), "image 1 must have a width in pixels > 0, got 0."),
    (_set("images", 0, height=64.5), "image 1 must have a height in pixels > 0, got 64.5."),
    (_drop("images", 0, "height"), "image 1 must have a height in pixels > 0, got None."),
    (_set("categories", 0, name=None), "category 1 has no name, got None."),
    (_set("categories", 1, id=1), "category id 1 occurs more than once (1 such ids)."),
    (_drop("annotations", 0, "id"), "an entry of annotation has no integer id, got None."),
    (_set("annotations", 1, id=1), "annotation id 1 occurs more than once (1 such ids)."),
    (_set("annotations", 0, image_id=9), "annotation 1 belongs to image_id 9, which is not among the images."),
    (_set("annotations", 0, image_id=[1]), "annotation 1 belongs to image_id [1], which is not among the images."),
    (_set("annotations", 0, category_id=2), "annotation 1 has category_id 2, which is not a category."),
    (_drop("annotations", 0, "bbox"), "annotation 1 must have a bbox [x, y, width, height] of numbers below 1,000,0"),
    (_set("annotations", 0, bbox=[1, 2, 3]), "of numbers below 1,000,000, got [1, 2, 3]."),
    (_set("annotations", 0, bbox=[1, 2, 3, "4"]), "of numbers below 1,000,000, got [1, 2, 3, '4']."),
    (_set("annotations", 0, bbox=[1, 2, 3, float("nan")]), "of numbers below 1,000,000, got [1, 2, 3, nan]."),
    (_set("annotations", 0, bbox=[1, 2, 3, 10**400]), "of numbers below 1,000,000, got [1, 2, 3, 1000000"),
    (_set("annotations", 0, bbox=[1, 2, -3, 4]), "annotation 1 has a bbox of negative size, got [1, 2, -3, 4]."),
    (_set("annotations", 0, area="9"), "annotation 1 must have an area in pixels >= 0, got '9'."),
    (_set("annotations", 0, iscrowd="no"), "annotation 1 must have an iscrowd of 0 or 1, got 'no'."),
    (_set("annotations", 0, segmentation=3), "annotation 1 must have polygons or RLE as segmentation, got a number."),
    (
        _set("annotations", 0, segmentation=[[1, 2, 3, 4]]),
        "annotation 1 has a polygon that is not a list of at least three x, y pairs.",
    ),
    (
        _set("annotations", 0, segmentation=[1, 2, 3, 4, 5, 6]),
        "annotation 1 has a polygon that is not a list of at least three x, y pairs.",
    ),
    (
        _set("annotations", 0, segmentation=[[1, 2, 3, 4, 5, None]]),
        "annotation 1 has a polygon with a value that is not a number between -1,000,000 and 1,000,000.",
    ),
    (
        _set("annotations", 0, segmentation={"counts": "x", "size": [9, 64]}),
        "annotation 1 has an RLE of size [9, 64], but its image has [height, width] [64, 64].",
    ),
    (
        _set("annotations", 0, segmentation={"counts": [1, 2], "size": [64, 64]}),
        "annotation 1 has RLE counts that are not whole numbers >= 0 of sum 4096.",
    ),
    (
        _set("annotations", 0, segmentation={"size": [64, 64]}),
        "annotation 1 must have RLE counts as a string or a list of runs, got null.",
    ),
    (
        _set("annotations", 0, segmentation={"size": [64, 64], "counts": compressed[:-1]}),
        "annotation 1 has RLE counts that do not decode to 4096 pixels.",
    ),
    (
        _set("annotations", 0, segmentation={"size": [64, 64], "counts": "some string"}),
        "annotation 1 has RLE counts that do not decode to 4096 pixels.",
    ),
    (
        _set("annotations", 0, segmentation=[[]]),
        "annotation 1 has a polygon that is not a list of at least three x, y pairs.",
    ),
    (
        _set("annotations", 0, ignore=1),
        "annotation 1 has ignore=1, which detectron2 refuses; use iscrowd=1.",
    ),
    (
        lambda d: [a.update(bbox=[0.1, 0.2, 0.5, 0.5]) for a in d["annotations"]],
        "every bbox lies within one pixel; boxes must be in pixels, not fractions of the image.",
    ),
    (
        lambda d: [a.update(iscrowd=1) for a in d["annotations"]],
        "contains no object to learn from: each is a crowd or has a box without an area in its image. Give a file with "
        "at least one.",
    ),
    (
        lambda d: [a.update(bbox=[70, 70, 9, 9]) for a in d["annotations"]],
        "contains no object to learn from: each is a crowd or has a box without an area in its image.",
    ),
    (
        _set("annotations", 0, keypoints=[1, 2]),
        "annotation 1 must have keypoints as a list of x, y and visibility for each, all below 1,000,000.",
    ),
    (_set("annotations", 0, keypoints=7), "annotation 1 must have keypoints as a list of x, y and visibility"),
    (_set("annotations", 0, keypoints=[1, "2", 2]), "annotation 1 must have keypoints as a list of x, y and visibil"),
    (_set("annotations", 0, keypoints=[1, 2, 3]), "annotation 1 has a keypoint whose visibility is not 0, 1 or 2."),
    (
        lambda d: [a.update(keypoints=[1, 2, 2] * a["id"]) for a in d["annotations"]],
        "annotation 2 has 2 keypoints, where 1 are expected.",
    ),
    (
        lambda d: (_set("categories", 0, keypoints=["a", "b"])(d), _set("annotations", 0, keypoints=[1, 2, 2])(d)),
        "annotation 1 has 1 keypoints, where 2 are expected.",
    ),
    (_set("categories", 0, keypoints=["a", "a"]), "category 1 must have keypoints as a list of distinct names, got ['"),
    (_set("categories", 0, keypoints=3), "category 1 must have keypoints as a list of distinct names, got 3."),
    (
        _set("categories", 0, keypoints=["a"], keypoint_flip_map=[["a", "b"]]),
        "category 1 has a keypoint_flip_map with 'b', which is not one of its keypoints.",
    ),
    (
        _set("categories", 0, keypoints=["a"], keypoint_flip_map=["a"]),
        "category 1 must have a keypoint_flip_map as a list of pairs of keypoints, got ['a'].",
    ),
]


@pytest.mark.parametrize(("edit", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_file_is_refused_with_its_place_and_the_value(coco_folder, edit, message):
    split = _split(coco_folder(edit=edit))
    refusal = _refusal(split)
    assert message in refusal
    assert str(split.annotations) in refusal
    assert len(refusal.splitlines()) == 1
    dataset = _coco(split.annotations.parent, ["box"])
    with pytest.raises(DataError):
        dataset.prepare()
    assert not Path(dataset.config.folder).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON: Expecting value: line 1 column 1 (char 0). Give a file in COCO format."),
        (b"\x89PNG\r\n", "is not JSON:"),
        (b'{"images": [', "is not JSON:"),
        (b"[" * 200_000, "is not JSON: lists or objects in it are nested too deeply."),
        (b"[]", "is not COCO: expected an object with images, annotations and categories, got a list."),
        (b"3", "is not COCO: expected an object with images, annotations and categories, got a number."),
        (b"{}", "is not COCO: 'images' must be a list of objects, its keys are []. Give a file in COCO format."),
        (b"1" * 5000, "is not JSON: a number in it has thousands of digits."),
        (gzip.compress(b"{}"), "is not JSON: it is compressed and must be unpacked."),
        (b"\xef\xbb\xbf{}", "is not JSON: it starts with a byte order mark, which must not be there."),
        ('{"images": []}'.encode("utf-16"), "is not JSON: byte 1 of it is not UTF-8."),
    ],
    ids=range(11),
)
def test_what_is_not_coco_at_all_is_refused(tmp_path, content, message):
    split = Split(tmp_path / "a.json", tmp_path)
    split.annotations.write_bytes(content)
    assert f"{split.annotations} {message}" in _refusal(split)


def test_a_missing_file_a_folder_and_an_impossible_path_are_refused(tmp_path):
    advice = "Give COCO files that exist (dataset.train_json, dataset.test_json)."
    none = tmp_path / "none.json"
    assert _refusal(Split(none, tmp_path)) == f"{none} cannot be read: No such file or directory. {advice}"
    assert _refusal(Split(tmp_path, tmp_path)) == f"{tmp_path} cannot be read: Is a directory. {advice}"
    assert "cannot be read: embedded null byte" in _refusal(Split(Path("a\0b"), tmp_path))


def test_a_missing_folder_of_images_is_refused(coco_folder):
    folder = coco_folder()
    shutil.rmtree(folder / "images")
    assert _refusal(_split(folder)) == (
        f"2 of 2 images of {folder / 'train.json'} are not in {folder / 'images'}, the first is '1.png'. "
        "Set the folder of the images (dataset.train_images, dataset.test_images)."
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=4)
            | st.sampled_from(
                [
                    *("images", "annotations", "categories", "id", "file_name", "bbox", "segmentation", "counts"),
                    *("keypoints", "num_keypoints", "keypoint_flip_map", "ignore", "area", "iscrowd"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
relaxed = settings(
    max_examples=150,
    derandomize=True,
    deadline=timedelta(minutes=1),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_numbers = itertools.count()


def _never_surprises(folder, data):
    split = Split(folder / f"{next(_numbers)}.json", folder / "images")
    split.annotations.write_text(json.dumps(data))
    try:
        contents = split.summary
        _ = split.image_scan
    except DataError as error:
        str(error).encode()
        assert "\n" not in str(error)
    else:
        assert contents.images > 0 and contents.instances > 0


@pytest.fixture
def valid(coco_folder):
    folder = coco_folder()
    return folder, json.loads((folder / "train.json").read_text())


@relaxed
@given(json_values)
def test_arbitrary_json_is_refused_in_words(valid, data):
    _never_surprises(valid[0], data)


def _places(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@relaxed
@given(st.data(), json_values)
def test_coco_with_an_arbitrary_value_anywhere_is_accepted_or_refused_in_words(valid, draw, value):
    folder, data = valid
    *path, last = draw.draw(st.sampled_from([place for place in _places(data) if place]))
    changed = copy.deepcopy(data)
    node = changed
    for key in path:
        node = node[key]
    node[last] = value
    _never_surprises(folder, changed)


@relaxed
@given(st.data(), json_values, st.sampled_from(["keypoints", "num_keypoints", "ignore", "area", "iscrowd"]))
def test_an_arbitrary_value_of_an_optional_key_is_accepted_or_refused_in_words(valid, draw, value, key):
    folder, data = valid
    changed = copy.deepcopy(data)
    changed[draw.draw(st.sampled_from(["annotations", "categories"]))][0][key] = value
    _never_surprises(folder, changed)


@given(st.data())
def test_run_lengths_that_are_accepted_can_be_decoded(draw):
    """pycocotools decodes anything, past the end of its memory: what is wrong must not reach it."""
    counts = list(compressed)
    place = draw.draw(st.integers(0, len(counts) - 1))
    counts[place] = draw.draw(st.text(st.characters(min_codepoint=32, max_codepoint=127), max_size=3))
    changed = "".join(counts)
    if segmentations.covers(changed, 64 * 64):
        assert mask.decode({"size": [64, 64], "counts": changed}).shape == (64, 64)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 1)))
def test_every_mask_that_pycocotools_encodes_is_accepted(pixels):
    counts = mask.encode(np.asfortranarray(pixels))["counts"].decode()
    assert segmentations.covers(counts, pixels.size)
    assert not segmentations.covers(counts, pixels.size + 1)


def test_keypoints_are_carried_through_a_class_subset(coco_folder):
    def edit(data):
        data["categories"][1].update(keypoints=["left_eye", "nose", "right_eye"], skeleton=[[1, 2]])
        for annotation in data["annotations"]:
            if annotation["category_id"] == 7:
                annotation.update(keypoints=[9, 9, 2, 12, 12, 1, 0, 0, 0], num_keypoints=2)

    folder = coco_folder(edit=edit)
    dataset = _coco(folder, ["box"])
    dataset.prepare()
    split = dataset.split("train")
    source, selected = (json.loads(path.read_text()) for path in (folder / "train.json", split.annotations))
    assert selected["categories"] == source["categories"][1:]
    assert selected["annotations"] == [a for a in source["annotations"] if "keypoints" in a]
    contents = split.summary
    assert contents.keypoints == ("left_eye", "nose", "right_eye")
    assert contents.flips == (("left_eye", "right_eye"),)
    assert contents.remarks == ()


def _coco(folder, classes=None):
    train, images = str(folder / "train.json"), str(folder / "images")
    test = str(folder / "test.json")
    config = CocoJsonConfig(
        name="n",
        type="coco_json",
        train_json=train,
        test_json=test,
        train_images=images,
        test_images=images,
        train_sem_seg=None,
        test_sem_seg=None,
        test_share=None,
        classes=classes,
        train_size=None,
        test_size=None,
        draw_seed=0,
        folder=str(folder / "cache"),
    )
    return build_dataset(config)


def test_the_fingerprint_follows_annotations_and_images_and_not_the_place(coco_folder):
    one, moved = coco_folder("one"), coco_folder("moved")
    before = _coco(one).fingerprint("train")
    assert _coco(moved).fingerprint("train") == before
    edited = coco_folder("edited", edit=_set("annotations", 0, bbox=[8, 8, 31, 31]))
    assert _coco(edited).fingerprint("train") != before
    with (one / "images" / "1.png").open("ab") as image:
        image.write(b"more")
    assert _coco(one).fingerprint("train") != before


@pytest.fixture
def coco_tree(coco_folder, tmp_path):
    """COCO as it is unpacked, with a crowd, an RLE, a gap in the ids and an image without an object."""

    def edit(data):
        data["annotations"][0].update(iscrowd=1, segmentation={"size": [64, 64], "counts": [0, 64 * 64]})
        data["annotations"][2].update(segmentation={"size": [64, 64], "counts": [10, 100, 64 * 64 - 110]})
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 3]

    made = coco_folder("flat", images=3, edit=edit)
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split, name in (("train", "train2017"), ("test", "val2017")):
        shutil.copy(made / f"{split}.json", root / "annotations" / f"instances_{name}.json")
        shutil.copytree(made / "images", root / name)
    return root


def _unpacked(compose, root, *overrides):
    keys = ["dataset=coco", f"dataset.root={root}", f"sweep.root={root}/sweeps", *overrides]
    return build_dataset(validate_config(compose(*keys)).dataset)


def test_coco_as_it_is_unpacked_is_a_data_set(compose, coco_tree):
    dataset = _unpacked(compose, coco_tree)
    dataset.survey()
    dataset.prepare()
    contents = dataset.split("test").summary
    assert (contents.images, contents.instances, contents.has_masks, contents.has_rle) == (3, 4, True, True)
    assert dataset.split("test").images == coco_tree / "val2017"


def test_a_class_subset_is_that_of_pycocotools(compose, coco_tree):
    dataset = _unpacked(compose, coco_tree, "dataset.classes=[box]")
    dataset.prepare()
    split = dataset.split("train")
    whole, subset = COCO(coco_tree / "annotations" / "instances_train2017.json"), COCO(split.annotations)
    ids = whole.getAnnIds(catIds=whole.getCatIds(catNms=["box"]))
    assert subset.loadAnns(subset.getAnnIds()) == whole.loadAnns(ids)
    assert subset.getImgIds() == whole.getImgIds()
    assert split.summary.categories == ((7, "box"),)


def test_a_class_subset_is_another_data_set_and_known_before_it_is_made(coco_folder):
    folder = coco_folder()
    assert _coco(folder, ["box"]).fingerprint("train") != _coco(folder).fingerprint("train")
    assert not (folder / "cache").exists()


def test_a_class_that_is_none_is_refused_with_those_that_are(coco_folder):
    with pytest.raises(DataError, match=r"dataset\.classes: 'bux' is not a category of .*Available: box, square\."):
        _coco(coco_folder(), ["bux"]).survey()


def _generated(folder, **changes):
    keys = {"seed": 0, "train_size": 3, "test_size": 2, "image_size": 64, **changes}
    return build_dataset(ShapesConfig(name="shapes", type="shapes", folder=str(folder), **keys))


def test_the_fingerprint_of_a_generated_split_needs_no_files_and_follows_what_decides_it(tmp_path):
    before = {split: _generated(tmp_path).fingerprint(split) for split in ("train", "test")}
    assert list(tmp_path.iterdir()) == []
    assert before["train"] != before["test"]
    assert _generated(tmp_path / "elsewhere").fingerprint("train") == before["train"]
    assert _generated(tmp_path, test_size=9).fingerprint("train") == before["train"]
    assert _generated(tmp_path, train_size=9).fingerprint("test") == before["test"]
    for change in ({"seed": 1}, {"train_size": 4}, {"image_size": 96}):
        assert _generated(tmp_path, **change).fingerprint("train") != before["train"]


def test_the_generated_set_is_coco(tmp_path):
    dataset = _generated(tmp_path)
    dataset.prepare()
    assert dataset.split("train").summary.images == 3
    assert dataset.split("test").summary.images == 2


def test_the_generated_set_is_made_once(tmp_path):
    dataset = _generated(tmp_path)
    dataset.prepare()
    before = dataset.split("train").annotations.stat().st_mtime_ns
    dataset.prepare()
    assert dataset.split("train").annotations.stat().st_mtime_ns == before


def test_real_files_need_no_preparation(coco_folder):
    folder = coco_folder()
    before = sorted(folder.rglob("*"))
    _coco(folder).prepare()
    assert sorted(folder.rglob("*")) == before


def test_processes_that_want_the_set_at_once_get_the_same_whole_one(tmp_path):
    code = (
        "import sys; from ablation.config.dataset import ShapesConfig; from ablation.data.build import build_dataset\n"
        "config = ShapesConfig(name='s', type='shapes', seed=0, train_size=40, test_size=5, image_size=64, "
        "folder=sys.argv[1])\n"
        "dataset = build_dataset(config); sys.stdin.readline(); dataset.prepare()\n"
        "print(dataset.split('train').summary.images)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == ["40\n", "40\n"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [_made(tmp_path).name]


def _made(folder):
    return next(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def test_a_crash_in_the_middle_leaves_no_set_behind(tmp_path, monkeypatch):
    real = shapes.generate

    def crash(spec, folder):
        real(spec, folder)
        raise OSError("disk full")

    monkeypatch.setattr(shapes, "generate", crash)
    with pytest.raises(OSError, match="disk full"):
        _generated(tmp_path).prepare()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    monkeypatch.undo()
    _generated(tmp_path).prepare()
    assert _generated(tmp_path).split("train").summary.images == 3


def test_what_a_killed_process_left_is_swept_up_by_the_next(tmp_path):
    dataset = _generated(tmp_path)
    name = dataset.split("train").annotations.parent.name
    (tmp_path / f".{name}.left").mkdir()
    dataset.prepare()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [name]


def _tear(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_tear, Path.unlink, lambda path: path.write_bytes(bytes(path.stat().st_size))])
@pytest.mark.parametrize("file", ["train.json", "test.json", "train/0000002.png", "test/1000001.png"])
def test_a_generated_set_that_lost_a_file_is_made_again(tmp_path, file, damage):
    _generated(tmp_path).prepare()
    path = _made(tmp_path) / file
    content = path.read_bytes()
    damage(path)
    dataset = _generated(tmp_path)
    dataset.prepare()
    assert path.read_bytes() == content
    assert dataset.split("test").image_scan.read == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [_made(tmp_path).name]


def test_a_generated_set_without_its_folders_is_made_again(tmp_path):
    _generated(tmp_path).prepare()
    shutil.rmtree(_made(tmp_path) / "train")
    _generated(tmp_path).prepare()
    assert _generated(tmp_path).split("train").image_scan.read == 3


def test_colleagues_can_read_the_generated_set(tmp_path):
    dataset = _generated(tmp_path)
    dataset.prepare()
    assert dataset.split("train").annotations.parent.stat().st_mode & 0o777 == 0o755
