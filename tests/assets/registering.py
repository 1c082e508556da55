"""A user's module: data sets in detectron2's catalog, as its tutorial registers them."""

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from my_images import FOLDER, IMAGES, LEFT  # type: ignore[import-not-found]
from pycocotools import mask


def _square(left, **more):
    box = [left, 8, left + 24, 32]
    return {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, **more}


def _annotations(number):
    polygon = [LEFT, 8.0, LEFT + 24, 8.0, LEFT + 24, 32.0, LEFT, 32.0]
    filled = np.zeros((64, 64), np.uint8, order="F")
    filled[8:32, 30:54] = 1
    both = [
        _square(LEFT, segmentation=[polygon], keypoints=[LEFT + 2.5, 10.5, 2, 0, 0, 0]),
        _square(30, segmentation=mask.encode(filled), iscrowd=0, keypoints=[31.5, 9.5, 1, 40.5, 9.5, 2]),
    ]
    return both if number % 2 else both[:1]


def _entries():
    return [
        {
            "file_name": f"{FOLDER}/{number}.png",
            "image_id": number,
            "height": np.int64(64),
            "width": 64,
            "annotations": _annotations(number),
        }
        for number in range(1, IMAGES + 1)
    ]


DatasetCatalog.register("mine", _entries)
MetadataCatalog.get("mine").set(
    thing_classes=["none", "square"],
    keypoint_names=["left", "right"],
    keypoint_flip_map=[("left", "right")],
)
DatasetCatalog.register("nameless", _entries)
DatasetCatalog.register("sizeless", lambda: [{"file_name": "1.png"}])
MetadataCatalog.get("sizeless").set(thing_classes=["a"])
