"""Base class and field types of the configuration groups."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
