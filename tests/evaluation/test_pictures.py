"""A few test images, the same for every run, with what is there and what was found."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ablation.evaluation.detections import Detections
from ablation.evaluation.pictures import (
    DrawnObject,
    ExampleCollector,
    ExampleImage,
    draw_comparison,
    draw_objects,
    write_pictures,
)
from ablation.records.paths import RunPaths


def _truth(images):
    polygon = [[4.0, 4.0, 40.0, 4.0, 40.0, 40.0, 4.0, 40.0]]
    annotations = [
        {"id": i, "image_id": i, "category_id": 3, "bbox": [4, 4, 36, 36], "area": 1296, "segmentation": polygon}
        for i in images[1:]  # the first is empty
    ]
    entries = [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in images]
    return {"images": entries, "annotations": annotations, "categories": [{"id": 3, "name": "disc"}]}


def _output(scores):
    found = Instances((48, 64), scores=torch.tensor(scores), pred_classes=torch.zeros(len(scores), dtype=torch.int64))
    found.pred_boxes = Boxes(torch.tensor([[2.0, 2.0, 30.0, 30.0]] * len(scores)))
    found.pred_masks = torch.zeros(len(scores), 48, 64, dtype=torch.bool)
    found.pred_masks[:, 2:30, 2:30] = True
    return {"instances": found}


def _examples(images, count, order=1):
    collector = ExampleCollector(_truth(images), Path("images"), count)
    for key in images[::order]:
        collector.add([{"image_id": key}], [_output([0.4, 0.6, 0.9])])
    return collector.examples()


def test_the_data_decide_which_images_are_shown_and_not_their_order():
    images = list(range(1, 40))
    chosen = [picture.image_id for picture in _examples(images, 4)]
    assert len(chosen) == 4
    assert chosen == [picture.image_id for picture in _examples(images, 4, order=-1)]
    assert chosen != images[1:5]
    assert _examples(images, 0) == ()


def test_images_with_objects_come_first():
    assert [picture.image_id for picture in _examples([1, 2], 1)] == [2]
    assert len(_examples([1, 2], 5)) == 2


def test_a_picture_holds_the_ground_truth_and_the_sure_detections():
    (picture,) = _examples([1, 2], 1)
    assert [(shape.label, shape.box) for shape in picture.truths] == [("disc", (4, 4, 40, 40))]
    assert picture.truths[0].mask.sum() == 36 * 36
    assert [shape.label for shape in picture.detections] == ["disc 0.90", "disc 0.60"]
    assert picture.detection_count == 3


def test_both_halves_show_their_objects_and_nothing_else(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "1.png")
    mask = np.zeros((48, 64), bool)
    mask[20:40, 8:40] = True
    shape = DrawnObject(0, "disc", (8.0, 20.0, 40.0, 40.0), mask)
    pixels = draw_comparison(ExampleImage(1, tmp_path / "1.png", (shape,), (), 0))
    halves = pixels[-300:, :400], pixels[-300:, -400:]
    assert halves[0][190, 150].any()  # inside the object
    assert not halves[0][290, 390].any()
    assert not halves[1].any()


def test_the_first_object_is_drawn_on_top():
    boxes = [DrawnObject(category, "", (8.0, 8.0, 40.0, 40.0), None) for category in (0, 1)]
    canvas = np.zeros((48, 64, 3), np.uint8)
    assert np.array_equal(draw_objects(canvas, boxes, 400), draw_objects(canvas, boxes[:1], 400))


def test_files_and_events_hold_the_same_pictures(tmp_path):
    Image.new("RGB", (64, 48), "gray").save(tmp_path / "2.png")
    picture = ExampleImage(2, tmp_path / "2.png", (), (), 0)
    paths = RunPaths(tmp_path / "run")
    write_pictures([picture], paths)
    file = np.asarray(Image.open(paths.pictures / "2.png"))
    events = EventAccumulator(str(paths.folder))
    events.Reload()
    (event,) = events.Images("pictures/2")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), file)
    assert np.array_equal(file, draw_comparison(picture))


def test_no_pictures_leave_no_trace(tmp_path):
    write_pictures([], RunPaths(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["pred_keypoints"])
def test_collecting_detections_leaves_what_others_read(field):
    output = _output([0.9])
    output["instances"].set(field, torch.full((1, 2, 3), 5.0))
    Detections(_truth([1, 2])).add([{"image_id": 2}], [output])
    assert torch.equal(output["instances"].get(field), torch.full((1, 2, 3), 5.0))
