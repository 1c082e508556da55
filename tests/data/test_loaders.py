"""Splits in detectron2's catalog, and the batches that an evaluation gets."""

import shutil

import pytest
from PIL import Image

from ablation.config.schemas import validate_config
from ablation.data.loaders import evaluation_loader, register
from ablation.data.splits import Split
from ablation.models.build import build_detector


@pytest.fixture
def sizes(coco_folder, coco_dataset):
    """A data set whose images have sizes in turn."""
    size_by_name = {f"{i}.png": (64, 64) if i % 2 else (96, 48) for i in range(1, 8)}

    def edit(data):
        for image in data["images"]:
            image["width"], image["height"] = size_by_name[image["file_name"]]

    folder = coco_folder(images=7, edit=edit)
    for name, size in size_by_name.items():
        Image.new("RGB", size).save(folder / "images" / name)
    return coco_dataset(folder)


def test_images_of_one_size_share_a_batch_and_none_is_padded(compose, micro, sizes):
    detector = build_detector(validate_config(compose(*micro)), sizes)
    name = register(sizes.split("train"))
    batches = list(evaluation_loader(detector.mapper(name, augmented=False, annotated=False), name, 3))
    assert sorted(image["image_id"] for batch in batches for image in batch) == [1, 2, 3, 4, 5, 6, 7]
    assert [len(batch) for batch in batches] == [3, 1, 3]
    assert all(len({tuple(image["image"].shape) for image in batch}) == 1 for batch in batches)


def test_the_same_annotations_with_other_images_are_another_split(sizes, tmp_path):
    clear = sizes.split("train")
    foggy = Split(clear.annotations, tmp_path / "foggy")
    shutil.copytree(clear.images, foggy.images)
    assert register(clear) != register(foggy)
    assert register(clear) == register(clear)
