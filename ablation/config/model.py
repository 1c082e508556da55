"""The group `model`."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from ablation.config.base import Group, Name
from ablation.config.keys import flatten

# Keys of a detectron2 config that this package sets itself: an override would have no effect, so it is an error.
_OWNED = {
    "SEED": "use seed",
    "OUTPUT_DIR": "use sweep.root and sweep.name",
    "DATASETS": "use the dataset group",
    "MODEL.WEIGHTS": "use model.weights",
    "MODEL.DEVICE": "use sweep.device",
    "MODEL.ROI_HEADS.NUM_CLASSES": "it follows from the data",
    "MODEL.RETINANET.NUM_CLASSES": "it follows from the data",
    "DATALOADER.NUM_WORKERS": "use sweep.data_workers",
    "SOLVER.CHECKPOINT_PERIOD": "use sweep.checkpoint_period",
    "TEST.EVAL_PERIOD": "the evaluation comes after the training",
    "TEST.AUG": "test-time augmentation is not supported",
    "TEST.PRECISE_BN": "precise batch norm is not supported",
    "train.init_checkpoint": "use model.weights",
    "train.device": "use sweep.device",
    "train.output_dir": "use sweep.root and sweep.name",
    "train.checkpointer": "use sweep.checkpoint_period",
    "train.eval_period": "the evaluation comes after the training",
    "dataloader.train.dataset.names": "use the dataset group",
    "dataloader.train.num_workers": "use sweep.data_workers",
    "dataloader.test.dataset": "use the dataset group",
    "dataloader.evaluator.dataset_name": "use the dataset group",
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
            owner = next((owner for prefix, owner in _OWNED.items() if f"{key}.".startswith(f"{prefix}.")), None)
            if owner:
                raise ValueError(f"model.overrides.{key} has no effect: {owner}. Leave it out.")
        return self
