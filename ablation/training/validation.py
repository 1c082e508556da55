"""Losses on the test images without noise, comparable with the training losses."""

from __future__ import annotations

from collections import defaultdict

import torch
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ablation.data.loaders import evaluation_loader, register
from ablation.data.splits import Split
from ablation.models.detector import Detector
from ablation.records.errors import ConfigError


class ValidationLoss:
    """Computes the losses of a model on a split: detectron2's names and total_loss, as means over the images.

    Images are resized as in evaluation and not augmented. Proposals and anchors are sampled from the same seed each
    time, and the global random generators are restored, so that the training continues bit for bit as without it.

    Raises:
        ConfigError: the split lacks annotations that a loss needs.
    """

    def __init__(self, detector: Detector, split: Split, batch_size: int) -> None:
        _check(detector, split)
        name = register(split)
        mapper = detector.mapper(name, augmented=False, annotated=True)
        self._loader = evaluation_loader(mapper, name, batch_size, detector.loader_config.workers)

    def __call__(self, model: nn.Module) -> dict[str, float]:  # noqa: D102
        sums: dict[str, float] = defaultdict(float)
        images = 0
        _set_loss_mode(model)
        # detectron2 logs statistics into the current storage; those of validation must not reach the training's.
        with torch.no_grad(), torch.random.fork_rng(), EventStorage(0):
            for batch in self._loader:
                torch.manual_seed(images)
                for name, value in model(batch).items():
                    sums[name] += float(value) * len(batch)
                images += len(batch)
        model.train()
        losses = {name: total / images for name, total in sums.items()}
        return losses | {"total_loss": sum(losses.values())}


def _check(detector: Detector, split: Split) -> None:
    contents = split.summary
    needs = {
        "masks": detector.has_masks and not contents.has_masks,
        "keypoints": detector.has_keypoints and not contents.has_keypoints,
    }
    if lacking := [name for name, is_lacking in needs.items() if is_lacking]:
        raise ConfigError(
            f"evaluation.loss_period needs {' and '.join(lacking)} of all objects in {split.annotations} for a model "
            "that learns them. Provide them, leave evaluation.loss_period=null, or choose another model."
        )


def _set_loss_mode(model: nn.Module) -> None:
    # In training mode detectron2 returns losses; batch statistics and dropout shall be those of evaluation.
    model.train()
    for module in model.modules():
        if isinstance(module, (_BatchNorm, _DropoutNd)) or type(module).__name__ == "DropPath":
            module.eval()
