"""Base class and field types of the configuration groups."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_Self = TypeVar("_Self", bound="Group")

NAME_LENGTH = 80  # characters; a file name made of two names stays below the usual limit of 255 bytes

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
_DEVICE = r"^(auto|cpu|cuda)$"
_METRIC = r"^((bbox|segm|keypoints)/AP(50|75|s|m|l)?|sem_seg/mIoU)$"

# The patterns in words, for error messages.
PATTERNS = {
    _NAME: "letters, digits and . _ + - only, a letter or digit first",
    _DEVICE: "auto, cpu or cuda (which ones: hydra.launcher.gpus=[0,1])",
    _METRIC: "bbox/, segm/ or keypoints/ and AP, AP50, AP75, APs, APm or APl (for example segm/AP), or sem_seg/mIoU",
}


def expand_home(path: str) -> str:
    """Return a path with the home folder for ~, which no shell expands in key=~/x."""
    # pathlib's method raises for a user that does not exist.
    return os.path.expanduser(path)  # noqa: PTH111


Name = Annotated[str, Field(pattern=_NAME, max_length=NAME_LENGTH)]
Device = Annotated[str, Field(pattern=_DEVICE)]
Metric = Annotated[str, Field(pattern=_METRIC)]
PathText = Annotated[str, AfterValidator(expand_home)]


class Group(BaseModel):
    """Base of every group: immutable, strictly typed, and without unknown keys."""

    def model_copy(self: _Self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> _Self:
        """Return a copy with some values replaced, which are not validated."""
        copy = super().model_copy(update=update, deep=deep)
        for name, attribute in vars(type(self)).items():
            if isinstance(attribute, cached_property):  # computed from the values of the original
                copy.__dict__.pop(name, None)
        return copy

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
