"""The group `dataset`: one schema for each type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ablation.config.base import Group, Name


class ShapesConfig(Group):
    """The built-in generated data set; sizes in images, image_size in pixels."""

    name: Name
    type: Literal["shapes"]
    seed: Annotated[int, Field(ge=0)]
    train_size: Annotated[int, Field(ge=1)]
    test_size: Annotated[int, Field(ge=1)]
    image_size: Annotated[int, Field(ge=64)]
    folder: str


class CocoFormatConfig(Group):
    """What is kept of COCO-format files, and the folder for the files that keeping it needs.

    classes: names of the categories, null for all; train_size, test_size: images drawn by draw_seed, null for all.
    """

    name: Name
    classes: Annotated[list[str], Field(min_length=1)] | None
    train_size: Annotated[int, Field(ge=1)] | None
    test_size: Annotated[int, Field(ge=1)] | None
    draw_seed: Annotated[int, Field(ge=0)]
    folder: str


class CocoConfig(CocoFormatConfig):
    """The usual tree of COCO: root/annotations/instances_train2017.json, root/train2017, the same for val.

    sem_seg: with the semantic labels of root/panoptic_stuff_train2017.
    """

    type: Literal["coco"]
    root: str
    year: int
    sem_seg: bool


class CocoJsonConfig(CocoFormatConfig):
    """COCO-format files by path; without a test file, test_share of the images are set apart by draw_seed.

    train_sem_seg, test_sem_seg: folders with a PNG of semantic labels for each image, null for none.
    """

    type: Literal["coco_json"]
    train_json: str
    train_images: str
    test_json: str | None
    test_images: str | None
    train_sem_seg: str | None
    test_sem_seg: str | None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None

    @model_validator(mode="after")
    def _check_test_set(self) -> CocoJsonConfig:
        given = {"dataset.test_json": self.test_json, "dataset.test_images": self.test_images}
        _check_test_set(given, self.test_share, whole="dataset.train_json")
        is_asked = self.train_sem_seg is not None and self.test_share is None
        if (self.test_sem_seg is not None) != is_asked:
            raise ValueError(
                f"dataset.test_sem_seg must be {'given' if is_asked else 'null'} with dataset.train_sem_seg="
                f"{self.train_sem_seg or 'null'} and dataset.test_share={self.test_share or 'null'}, got "
                f"{self.test_sem_seg or 'null'}: both splits have semantic labels, or none has."
            )
        return self


class RegisteredConfig(CocoFormatConfig):
    """Names in detectron2's DatasetCatalog, which the modules of `imports` put there; test_share as in coco_json."""

    type: Literal["registered"]
    train_name: str
    test_name: str | None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None
    imports: list[str]

    @model_validator(mode="after")
    def _check_test_set(self) -> RegisteredConfig:
        _check_test_set({"dataset.test_name": self.test_name}, self.test_share, whole="dataset.train_name")
        return self


def _check_test_set(given: Mapping[str, str | None], share: float | None, *, whole: str) -> None:
    """Refuse a test set that is given and split off as well, or neither."""
    missing = [key for key, value in given.items() if value is None]
    if share is None and missing:
        raise ValueError(
            f"{', '.join(missing)} must be given. Add to the command: {'=... '.join(missing)}=..., or "
            f"dataset.test_share=0.2 to split {whole}."
        )
    if share is not None and len(missing) < len(given):
        both = ", ".join(f"{key}={value}" for key, value in given.items() if value is not None)
        raise ValueError(f"dataset.test_share={share} splits {whole}, and {both} is given too; keep one.")


DatasetConfig = ShapesConfig | CocoConfig | CocoJsonConfig | RegisteredConfig

DATASETS = {"shapes": ShapesConfig, "coco": CocoConfig, "coco_json": CocoJsonConfig, "registered": RegisteredConfig}
