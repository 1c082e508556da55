"""Schemas of the group `dataset`, one for each type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ablation.config.base import Group, Name, PathText


class ShapesConfig(Group):
    """The built-in generated data set.

    Attributes:
        train_size: Number of images to train on.
        test_size: Number of images to test on.
        image_size: Edge of the square images in pixels.
        folder: Where it is generated.
    """

    name: Name
    type: Literal["shapes"]
    seed: Annotated[int, Field(ge=0)] = 0
    train_size: Annotated[int, Field(ge=1, le=1_000_000)] = 400  # ids of test images follow
    test_size: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    image_size: Annotated[int, Field(ge=64, le=8192)] = 128
    folder: PathText


class CocoFormatConfig(Group):
    """The part of COCO-format files that is used.

    Attributes:
        classes: Names of the categories, null for all.
        train_size: Number of images to train on, sampled by draw_seed, null for all.
        test_size: Number of images to test on, sampled by draw_seed, null for all.
        draw_seed: Seed of the samples and of the split by test_share.
        folder: Where annotation files of a part are written.
    """

    name: Name
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    train_size: Annotated[int, Field(ge=1)] | None = None
    test_size: Annotated[int, Field(ge=1)] | None = None
    draw_seed: Annotated[int, Field(ge=0)] = 0
    folder: PathText


class CocoConfig(CocoFormatConfig):
    """COCO as it is unpacked: root/annotations/instances_train2017.json, root/train2017, and the same for val2017.

    Attributes:
        sem_seg: Use the semantic labels of root/panoptic_stuff_train2017.
    """

    type: Literal["coco"]
    root: PathText
    year: int = 2017
    sem_seg: bool = False


class CocoJsonConfig(CocoFormatConfig):
    """COCO-format files by path.

    Attributes:
        test_share: Share of the training images to test on, for a data set without a test file.
        train_sem_seg: Folder with a PNG of semantic labels for each image, null for none.
        test_sem_seg: The same for the test images.
    """

    type: Literal["coco_json"]
    train_json: PathText
    train_images: PathText
    test_json: PathText | None = None
    test_images: PathText | None = None
    train_sem_seg: PathText | None = None
    test_sem_seg: PathText | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _check_test_set(self) -> CocoJsonConfig:
        test_files = {"dataset.test_json": self.test_json, "dataset.test_images": self.test_images}
        _check_test_set(test_files, self.test_share, whole="dataset.train_json")
        is_needed = self.train_sem_seg is not None and self.test_share is None
        if (self.test_sem_seg is not None) != is_needed:
            raise ValueError(
                f"dataset.test_sem_seg must be {'given' if is_needed else 'null'} with dataset.train_sem_seg="
                f"{self.train_sem_seg or 'null'} and dataset.test_share={self.test_share or 'null'}, got "
                f"{self.test_sem_seg or 'null'}: both splits have semantic labels, or none has."
            )
        return self


class RegisteredConfig(CocoFormatConfig):
    """Names in detectron2's DatasetCatalog.

    Attributes:
        imports: Modules that register the names.
        test_share: Share of the training images to test on, for a data set without a test_name.
    """

    type: Literal["registered"]
    train_name: str
    test_name: str | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    imports: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _check_test_set(self) -> RegisteredConfig:
        _check_test_set({"dataset.test_name": self.test_name}, self.test_share, whole="dataset.train_name")
        return self


def _check_test_set(test_files: Mapping[str, str | None], share: float | None, *, whole: str) -> None:
    """Require either all keys of the test set or dataset.test_share, not both."""
    missing = [key for key, value in test_files.items() if value is None]
    if share is None and missing:
        raise ValueError(
            f"{', '.join(missing)} must be given. Add to the command: {'=... '.join(missing)}=..., or "
            f"dataset.test_share=0.2 to split {whole}."
        )
    if share is not None and len(missing) < len(test_files):
        both = ", ".join(f"{key}={value}" for key, value in test_files.items() if value is not None)
        raise ValueError(f"dataset.test_share={share} splits {whole}, and {both} is given too; keep one.")


DatasetConfig = ShapesConfig | CocoConfig | CocoJsonConfig | RegisteredConfig

DATASETS: dict[str, type[Group]] = {
    "shapes": ShapesConfig,
    "coco": CocoConfig,
    "coco_json": CocoJsonConfig,
    "registered": RegisteredConfig,
}
