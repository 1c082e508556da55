"""What is wrong or doubtful about real files is said before anything is trained, with a count and the first place."""

from __future__ import annotations

import json
import shutil
import time

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import read_image
from PIL import Image
from pycocotools import mask

from ablation.config.schemas import validate_config
from ablation.data import images as images_module
from ablation.data.build import build_dataset
from ablation.data.loaders import register
from ablation.data.splits import Split
from ablation.models.build import build_detector
from ablation.records.errors import DataError

UPRIGHT = 0x0112


@pytest.fixture
def surveyed(compose):
    """The survey of two folders, or of one that is split."""

    def of(train, test=None, *overrides):
        files = [f"dataset.train_json={train}/train.json", f"dataset.train_images={train}/images"]
        if test is None:
            files.append("dataset.test_share=0.5")
        else:
            files += [f"dataset.test_json={test}/test.json", f"dataset.test_images={test}/images"]
        return build_dataset(validate_config(compose("dataset=coco_json", *files, *overrides)).dataset).survey()

    return of


@pytest.fixture
def remarks(coco_folder):
    """The remarks on the annotations of a folder of two images with two objects each."""
    return lambda edit: _split(coco_folder(edit=edit)).summary.remarks


def _split(folder):
    return Split(folder / "train.json", folder / "images")


def _refusal(folder):
    with pytest.raises(DataError) as refused:
        _ = _split(folder).image_scan
    return str(refused.value)


def _set(section, index, **values):
    return lambda data: data[section][index].update(values)


def _rename(data):
    """Give image 1 another file, to be made by the test."""
    data["images"][0].update(file_name="odd.png")


def test_the_built_in_set_needs_no_survey(compose):
    assert build_dataset(validate_config(compose()).dataset).survey() is None


def test_a_sound_data_set_is_counted_and_has_no_remarks(surveyed, coco_folder):
    def noisy(folder):
        for path in (folder / "images").iterdir():
            Image.effect_noise((64, 64), 60).convert("RGB").save(path)
        return folder

    survey = surveyed(noisy(coco_folder("one", images=3)), noisy(coco_folder("two")))
    assert survey.summary == (
        "3 images with 6 objects to train on and 2 images with 4 objects to test on; 2 classes (square, box), masks, "
        "images of 64 pixels"
    )
    assert survey.remarks == ()


REMARKS = [
    (
        _set("annotations", 1, bbox=[8, 8, 0, 5]),
        "1 of 4 objects have a box without an area in their image: no training sees them, and no test finds them; the "
        "first is annotation 2.",
    ),
    (_set("annotations", 1, bbox=[70, 8, 9, 9]), "1 of 4 objects have a box without an area in their image: no tra"),
    (
        _set("annotations", 0, bbox=[30, 30, 40, 9], area=300, segmentation=[]),
        "1 of 4 objects have a box that extends beyond their image: a training sees the part inside (bbox is "
        "[x, y, width, height]); the first is annotation 1.",
    ),
    (
        _set("annotations", 2, area=5000),
        "1 of 4 objects have an area that is 0 or larger than their box: they count for a wrong size in APs, APm and "
        "APl; the first is annotation 3.",
    ),
    (
        _set("annotations", 3, segmentation=[[8, 8, 40, 8, 40, 70, 8, 40]]),
        "1 of 4 objects have a polygon that extends beyond their image: a training sees the part inside; the "
        "first is annotation 4.",
    ),
    (
        _set("annotations", 3, segmentation=[[20, 20, 30, 20, 30, 30]]),
        "1 of 4 objects have a mask that does not fit their box; the first is annotation 4.",
    ),
    (
        lambda d: d["annotations"][3].pop("segmentation"),
        "1 of 4 objects have no mask, so masks are neither trained on nor scored.",
    ),
    (
        _set("annotations", 0, keypoints=[9, 9, 2, 0, 0, 0], num_keypoints=2),
        "1 of 4 objects have a num_keypoints other than the number of their labelled keypoints; the first is ",
    ),
    (
        _set("annotations", 0, keypoints=[9, 9, 2]),
        "3 of 4 objects have no keypoints, so keypoints are neither trained on nor scored.",
    ),
    (
        _set("annotations", 1, iscrowd=1, segmentation=[]),
        "1 of 1 crowds have no mask, so each covers its box where masks are scored.",
    ),
    (
        _set("images", 1, file_name="1.png"),
        "1 of 1 files have several image ids, the first is '1.png': under each id only a part of their objects "
        "is known.",
    ),
    (
        _set("images", 1, width=6400),
        "1 of 2 images are more than 50 times as long as wide, the first is '2.png': resized, hardly a pixel of "
        "their width is left.",
    ),
    (
        _set("categories", 1, name="square"),
        "Several categories are named 'square': they are trained as different ones.",
    ),
]


@pytest.mark.parametrize(("edit", "remark"), REMARKS, ids=range(len(REMARKS)))
def test_what_a_training_takes_otherwise_is_counted(remarks, edit, remark):
    assert any(found.startswith(remark) for found in remarks(edit)), remarks


def _run_lengths(*box, is_compressed):
    pixels = np.zeros((64, 64), np.uint8, order="F")
    x, y, width, height = box
    pixels[y : y + height, x : x + width] = 1
    rle = mask.encode(pixels)
    if is_compressed:
        return {"size": [64, 64], "counts": rle["counts"].decode()}
    flat = pixels.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=2))
    return {"size": [64, 64], "counts": np.diff(edges, prepend=0).tolist()}


@pytest.mark.parametrize("is_compressed", [True, False])
@pytest.mark.parametrize(("box", "is_right"), [((8, 20, 32, 9), True), ((20, 8, 9, 32), False), ((0, 0, 0, 0), False)])
def test_run_lengths_that_are_transposed_or_empty_do_not_fit_their_box(remarks, box, is_right, is_compressed):
    rle = _run_lengths(*box, is_compressed=is_compressed)
    found = remarks(_set("annotations", 2, bbox=[8, 20, 32, 9], area=288, segmentation=rle))
    remark = "1 of 4 objects have a mask that does not fit their box; the first is annotation 3."
    assert found == (() if is_right else (remark,))


def test_an_empty_mask_fits_no_box_however_small(remarks):
    rle = {"size": [64, 64], "counts": [4096]}
    assert (
        "1 of 4 objects have a mask that does not"
        in remarks(_set("annotations", 0, bbox=[0, 0, 1, 1], area=1, segmentation=rle))[0]
    )


def _large(data):
    for annotation in data["annotations"][:1]:
        annotation.update(bbox=[0, 0, 200, 99], area=9300)


GAPS = [
    ("segm/AP", None, ""),
    ("segm/APm", None, ""),
    ("bbox/APs", None, ""),  # 32 x 32 pixels are small and medium
    ("bbox/APl", None, "no object has an area from 96 x 96 pixels"),
    ("segm/APl", _large, ""),
    ("segm/APm", lambda d: [a.update(area=9) for a in d["annotations"]], "no object has an area from 32 x 32 to 96 x"),
    ("segm/APs", lambda d: [a.update(bbox=[0, 0, 40, 40]) or a.pop("area") for a in d["annotations"]], "no object has"),
    ("segm/AP50", lambda d: d["annotations"][2].pop("segmentation"), "1 of its objects have no mask"),
    ("bbox/AP", lambda d: d["annotations"][2].pop("segmentation"), ""),
    ("keypoints/AP", None, "4 of its objects have no keypoints"),
    ("sem_seg/mIoU", None, "there are no semantic labels"),
]


@pytest.mark.parametrize(("metric", "edit", "gap"), GAPS, ids=range(len(GAPS)))
def test_a_metric_without_a_value_is_known_before_any_run(coco_dataset, coco_folder, metric, edit, gap):
    found = coco_dataset(coco_folder(edit=edit)).find_gap(metric)
    assert found.startswith(gap) and bool(found) == bool(gap)


def test_only_selected_objects_count_for_a_metric(coco_dataset, coco_folder):
    folder = coco_folder(edit=_large)
    assert coco_dataset(folder, "dataset.classes=[square]").find_gap("segm/APl") == ""
    assert coco_dataset(folder, "dataset.classes=[box]").find_gap("segm/APl")


@pytest.mark.parametrize(("size", "without"), [(64, ["m", "l"]), (128, ["l"]), (256, []), (400, ["s"])])
def test_generated_objects_have_the_sizes_that_the_image_allows(compose, size, without):
    dataset = build_dataset(validate_config(compose(f"dataset.image_size={size}")).dataset)
    assert [one for one in "sml" if dataset.find_gap(f"segm/AP{one}")] == without


def test_edges_are_met_within_a_pixel(remarks):
    assert remarks(_set("annotations", 0, bbox=[8, 8, 56.6, 32], area=1000, segmentation=[])) == (
        "1 of 4 objects have no mask, so masks are neither trained on nor scored.",
    )


def test_crowds_are_left_alone(coco_folder):
    crowd = {"iscrowd": 1, "bbox": [0, 0, 99, 99], "segmentation": {"size": [64, 64], "counts": [4096]}}
    assert _split(coco_folder(edit=_set("annotations", 0, **crowd))).summary.remarks == ()


def test_remarks_on_the_annotations_are_in_the_log_of_the_training(coco_folder, caplog):
    split = _split(coco_folder(edit=_set("annotations", 2, area=5000)))
    register(split)
    assert f"{split.annotations}: 1 of 4 objects have an area that is 0" in caplog.text


def test_classes_without_objects_are_remarked(surveyed, coco_folder):
    one, two = coco_folder("one"), coco_folder("two", edit=lambda d: d["annotations"].__delitem__(slice(1, None, 2)))
    assert "1 of 2 classes have no object to test on: box." in surveyed(one, two).remarks


def test_a_class_without_an_object_cannot_be_selected_alone(surveyed, coco_folder):
    one, two = coco_folder("one"), coco_folder("two", edit=lambda d: d["annotations"].__delitem__(slice(1, None, 2)))
    with pytest.raises(
        DataError, match=r"^The 2 images to test on contain no object of box \(.*two/test\.json\)\. Select"
    ):
        surveyed(one, two, "dataset.classes=[box]")


def test_images_of_both_splits_are_a_leak(surveyed, coco_folder):
    folder = coco_folder()
    (remark,) = surveyed(folder, folder).remarks
    assert remark == (
        f"2 of 2 test images are also trained on, the first is {folder / 'images' / '1.png'}: the AP says nothing "
        "about new images."
    )


def test_copies_under_another_name_are_a_leak_and_other_images_are_none(surveyed, coco_folder):
    one, two = coco_folder("one"), coco_folder("two", edit=_rename)
    shutil.copy(one / "images" / "2.png", two / "images" / "odd.png")
    Image.effect_noise((64, 64), 60).convert("RGB").save(two / "images" / "2.png")
    (remark,) = surveyed(one, two).remarks
    assert remark.startswith(f"1 of 2 test images are also trained on, the first is {two / 'images' / 'odd.png'}: ")


def test_files_that_only_begin_alike_are_no_leak(surveyed, coco_folder):
    """As uncompressed images with a dark upper half do: equal in size and in their first bytes."""
    folders = []
    for number in range(2):
        folder = coco_folder(str(number), edit=lambda data: [i.update(width=96, height=96) for i in data["images"]])
        for image in (1, 2):
            pixels = np.zeros((96, 96, 3), np.uint8)
            pixels[0 if image == 1 else -1, -1] = 10 * number + image  # BMP starts with the last row
            Image.fromarray(pixels).save(folder / "images" / f"{image}.png", format="BMP")
        folders.append(folder)
    looks = [_split(folder).image_scan.signatures["1.png"] for folder in folders]
    assert looks[0] == looks[1]
    assert surveyed(*folders).remarks == ()


def test_an_image_that_is_none_is_named(coco_folder):
    folder = coco_folder(edit=_rename)
    (folder / "images" / "odd.png").write_text("not pixels")
    assert _refusal(folder) == (
        f"1 of 2 images of {folder / 'train.json'} in {folder / 'images'} cannot be read, the first is 'odd.png': it "
        "is no image, damaged, or of an unknown format. Fix or leave out these files."
    )


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "bmp", "gif", "webp", "ppm"])
def test_a_truncated_image_is_found_though_its_header_is_right(coco_folder, kind):
    name = f"odd.{kind}"
    folder = coco_folder(edit=lambda data: data["images"][0].update(file_name=name))
    path = folder / "images" / name
    Image.effect_noise((64, 64), 60).convert("RGB").save(path)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(OSError):
        read_image(path, "BGR")
    assert f"cannot be read, the first is '{name}': " in _refusal(folder) and "truncated" in _refusal(folder)


def test_bytes_after_the_end_of_an_image_do_not_matter(coco_folder):
    folder = coco_folder(edit=_rename)
    Image.new("RGB", (64, 64)).save(folder / "images" / "odd.png", format="JPEG")
    with (folder / "images" / "odd.png").open("ab") as file:
        file.write(b"written by a camera")
    assert _split(folder).image_scan.remarks == ()


def test_another_size_than_in_the_annotations_is_refused_with_both(coco_folder):
    folder = coco_folder(edit=_rename)
    Image.new("RGB", (48, 64)).save(folder / "images" / "odd.png")
    assert _refusal(folder) == (
        f"1 of 2 images of {folder / 'train.json'} in {folder / 'images'} differ in size from their annotations, "
        "the first: 'odd.png' is 48 x 64 pixels, not 64 x 64. detectron2 refuses them: set width and height, and the "
        "boxes with them, to those of the files."
    )


def _turned(path, size, orientation):
    exif = Image.Exif()
    exif[UPRIGHT] = orientation
    Image.new("RGB", size).save(path, format="JPEG", exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_with_an_orientation_is_the_size_that_detectron2_reads(coco_folder, orientation):
    upright = (32, 64) if orientation in (5, 6, 7, 8) else (64, 32)

    def edit(data):
        data["images"][0].update(file_name="odd.jpg", width=upright[0], height=upright[1])

    folder = coco_folder(edit=edit)
    _turned(folder / "images" / "odd.jpg", (64, 32), orientation)
    assert read_image(folder / "images" / "odd.jpg", "BGR").shape == (upright[1], upright[0], 3)
    remarks = _split(folder).image_scan.remarks
    assert remarks == (
        (
            "1 of 2 images have an EXIF orientation, the first is 'odd.jpg': they are read upright, as a viewer "
            "shows them, and their annotations must be for the upright image.",
        )
        if orientation > 1
        else ()
    )


def test_annotations_of_an_image_as_it_is_stored_and_not_as_it_is_read_are_refused(coco_folder):
    folder = coco_folder(edit=lambda d: d["images"][0].update(file_name="odd.jpg", width=64, height=32))
    _turned(folder / "images" / "odd.jpg", (64, 32), 6)
    assert "'odd.jpg' is 32 x 64 pixels (turned upright by its EXIF orientation 6), not 64 x 32." in _refusal(folder)


def _grey(kind):
    values = np.linspace(0, 60_000, 64 * 64).reshape(64, 64)
    return values.astype(np.uint16) if kind == "png" else values.astype(np.float32)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_pixels_of_more_than_eight_bits_are_refused_for_detectron2_would_cut_them_off(coco_folder, kind):
    name = f"odd.{kind}"
    folder = coco_folder(edit=lambda data: data["images"][0].update(file_name=name))
    Image.fromarray(_grey(kind)).save(folder / "images" / name)
    assert (read_image(folder / "images" / name, "BGR") == 255).mean() > 0.99
    assert _refusal(folder) == (
        f"1 of 2 images of {folder / 'train.json'} in {folder / 'images'} have 16 or 32 bits for each grey value, "
        f"which detectron2 clips at 255; the first is '{name}'. Scale them to 8 bits: one range for all images, "
        "such as that of the detector."
    )


def test_colours_of_sixteen_bits_are_read_by_their_upper_eight(coco_folder):
    folder = coco_folder(edit=_rename)
    path = folder / "images" / "odd.png"
    cv2.imwrite(str(path), np.full((64, 64, 3), 0x8123, np.uint16))
    assert _split(folder).image_scan.remarks == ()
    assert set(read_image(path, "BGR").ravel()) == {0x81}


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "CMYK"])
def test_every_other_kind_of_pixels_is_mapped_as_colours(compose, micro, coco_folder, coco_dataset, mode):
    folder = coco_folder(edit=lambda data: data["images"][0].update(file_name="odd.tiff"))
    Image.linear_gradient("L").resize((64, 64)).convert(mode).save(folder / "images" / "odd.tiff")
    dataset = coco_dataset(folder)
    split = dataset.split("train")
    assert split.image_scan.remarks == ()
    name = register(split)
    mapper = build_detector(validate_config(compose(*micro)), dataset).mapper(name, augmented=False, annotated=False)
    image = mapper(DatasetCatalog.get(name)[0])["image"]
    assert image.shape[0] == 3 and image.min() < 30 and image.max() > 225


def test_several_pages_are_told(coco_folder):
    folder = coco_folder(edit=lambda data: data["images"][0].update(file_name="odd.tiff"))
    page = Image.new("RGB", (64, 64))
    page.save(folder / "images" / "odd.tiff", save_all=True, append_images=[page])
    assert _split(folder).image_scan.remarks == (
        "1 of 2 images have several pages, the first is 'odd.tiff': only the first page is read.",
    )


def test_a_very_large_set_is_sampled_and_that_is_told(surveyed, coco_folder, monkeypatch):
    monkeypatch.setattr(images_module, "MOST_READ", 3)
    folder = coco_folder(images=8)
    assert "train.json: 3 of 8 image files were read, sampled at random." in surveyed(folder).remarks


def test_five_thousand_headers_are_read_in_seconds(coco_folder):
    def many(data):
        first = data["images"][0]
        data["images"] += [first | {"id": i, "file_name": f"{i}.jpg"} for i in range(3, 5001)]

    folder = coco_folder()
    data = json.loads((folder / "train.json").read_text())
    many(data)
    for image in data["images"][2:]:
        shutil.copyfile(folder / "images" / "1.png", folder / "images" / image["file_name"])
    (folder / "train.json").write_text(json.dumps(data))
    started = time.perf_counter()
    assert _split(folder).image_scan.read == 5000
    assert time.perf_counter() - started < 30  # 1 s on an idle machine; decoding the pictures would take minutes
