"""The group `model`."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from ablation.config.base import Group, Name
from ablation.config.keys import flatten, is_below

# Keys of a detectron2 config that this package sets itself: an override would have no effect, so it is an error.
# They are grouped by what to do instead.
_OWNED = {
    "use seed": ["SEED", "train.seed"],
    "use sweep.root and sweep.name": ["OUTPUT_DIR", "train.output_dir"],
    "use the dataset group": [
        *("DATASETS", "dataloader.train.dataset.names"),
        *("dataloader.test.dataset", "dataloader.evaluator.dataset_name"),
    ],
    "use model.weights": ["MODEL.WEIGHTS", "train.init_checkpoint"],
    "use sweep.device": ["MODEL.DEVICE", "train.device"],
    "it follows from the data": [
        *("MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.RETINANET.NUM_CLASSES", "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"),
        *("model.num_classes", "model.head.num_classes", "model.roi_heads.num_classes"),
    ],
    "use sweep.data_workers": [
        *("DATALOADER.NUM_WORKERS", "dataloader.train.num_workers", "dataloader.test.num_workers"),
    ],
    "use evaluation.batch_size": ["dataloader.test.batch_size"],
    "use sweep.log_period": ["train.log_period"],
    "use sweep.determinism": ["CUDNN_BENCHMARK", "train.cudnn_benchmark"],
    "use schedule.batch_size and schedule.devices": ["SOLVER.REFERENCE_WORLD_SIZE"],
    "use sweep.checkpoint_period": ["SOLVER.CHECKPOINT_PERIOD", "train.checkpointer"],
    "the evaluation comes after the training": ["TEST.EVAL_PERIOD", "train.eval_period"],
    "test-time augmentation is not supported": ["TEST.AUG"],
    "precise batch norm is not supported": ["TEST.PRECISE_BN"],
    "results are compared with those of a baseline": ["TEST.EXPECTED_RESULTS"],
    "precomputed proposals are not supported": ["MODEL.LOAD_PROPOSALS"],
}
# All that is read of these parts of a LazyConfig; the rest is for detectron2's own training script.
_READ = {
    "train": ["train.max_iter", "train.amp.enabled"],
    "dataloader": [
        *("dataloader.train.total_batch_size", "dataloader.train.aspect_ratio_grouping", "dataloader.train.mapper"),
        *("dataloader.train.dataset", "dataloader.train.sampler"),
        *("dataloader.test.mapper", "dataloader.evaluator.kpt_oks_sigmas"),
    ],
}
_ADDRESSES = ("ablation", "detectron2", "catalog", "https", "http", "ftp")


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
            if advice := next((advice for advice, owned in _OWNED.items() if is_below(key, owned)), None):
                raise ValueError(f"model.overrides.{key} has no effect: {advice}. Leave it out.")
            part = key.partition(".")[0]
            if part in _READ and not is_below(key, _READ[part]):
                raise ValueError(
                    f"model.overrides.{key} has no effect: of `{part}` only {', '.join(_READ[part])} are read. Leave "
                    "it out."
                )
        return self

    @model_validator(mode="after")
    def _check_address(self) -> ModelConfig:
        scheme, separator, _ = self.weights.partition("://")
        # The user's modules may teach detectron2 further addresses.
        if separator and scheme not in _ADDRESSES and not self.imports:
            raise ValueError(
                f"model.weights must be a file or an address that detectron2 knows, got {self.weights!r}. Addresses "
                f"begin with {', '.join(f'{name}://' for name in _ADDRESSES)}."
            )
        return self
