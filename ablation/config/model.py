"""The group `model`."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from ablation.config.base import Group, Name
from ablation.config.keys import flatten

# Keys of a detectron2 config that this package sets itself: an override would have no effect, so it is an error.
# They are grouped by what to do instead.
_OWNED = {
    "use seed": ["SEED"],
    "use sweep.root and sweep.name": ["OUTPUT_DIR", "train.output_dir"],
    "use the dataset group": [
        *("DATASETS", "dataloader.train.dataset.names"),
        *("dataloader.test.dataset", "dataloader.evaluator.dataset_name"),
    ],
    "use model.weights": ["MODEL.WEIGHTS", "train.init_checkpoint"],
    "use sweep.device": ["MODEL.DEVICE", "train.device"],
    "it follows from the data": ["MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.RETINANET.NUM_CLASSES"],
    "use sweep.data_workers": ["DATALOADER.NUM_WORKERS", "dataloader.train.num_workers"],
    "use sweep.checkpoint_period": ["SOLVER.CHECKPOINT_PERIOD", "train.checkpointer"],
    "the evaluation comes after the training": ["TEST.EVAL_PERIOD", "train.eval_period"],
    "test-time augmentation is not supported": ["TEST.AUG"],
    "precise batch norm is not supported": ["TEST.PRECISE_BN"],
}


class ModelConfig(Group):
    """The detector: a detectron2 config and its initial weights."""

    name: Name
    config: str
    weights: str
    allow_pickle: bool
    imports: list[str]
    overrides: dict[str, Any]

    @model_validator(mode="after")
    def _check_overrides(self) -> ModelConfig:
        for key in flatten(self.overrides):
            for advice, owned in _OWNED.items():
                if any(f"{key}.".startswith(f"{name}.") for name in owned):
                    raise ValueError(f"model.overrides.{key} has no effect: {advice}. Leave it out.")
        return self
