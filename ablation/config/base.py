"""What the groups of the configuration share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME_LENGTH = 80  # characters; what is made of two names still fits into the name of a file

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
_DEVICE = r"^(auto|cpu|cuda)$"
_METRIC = r"^((bbox|segm|keypoints)/AP(50|75|s|m|l)?|sem_seg/mIoU)$"

# The patterns in words, for the error that refuses a value.
PATTERNS = {
    _NAME: "letters, digits and . _ + - only, a letter or digit first",
    _DEVICE: "auto, cpu or cuda (which ones: hydra.launcher.gpus=[0,1])",
    _METRIC: "bbox/, segm/ or keypoints/ and AP, AP50, AP75, APs, APm or APl (for example segm/AP), or sem_seg/mIoU",
}

Name = Annotated[str, Field(pattern=_NAME, max_length=NAME_LENGTH)]
Device = Annotated[str, Field(pattern=_DEVICE)]
Metric = Annotated[str, Field(pattern=_METRIC)]


class Group(BaseModel):
    """Frozen, of exact types, without keys that the schema does not name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
