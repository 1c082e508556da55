"""The losses on the test images with the noise off: the counterpart of the training loss that can be compared."""

from __future__ import annotations

from collections import defaultdict

import torch
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ablation.data.coco.annotations import Split, check_annotations_file
from ablation.data.loaders import evaluation_loader, register
from ablation.models.detector import Detector
from ablation.records.errors import ConfigError


class ValidationLoss:
    """Calling it gives the losses of a model on a split, by detectron2's names and as total_loss.

    Each is the mean over the batches, weighted by their images. Images are resized as in evaluation and not
    augmented. Proposals and anchors are sampled from the same seed each time, and the global generators come back
    as they were: a training goes on with the same bits whether it is asked or not.

    Raises:
        ConfigError: the split lacks what a loss is counted from.
    """

    def __init__(self, detector: Detector, split: Split, batch_size: int) -> None:
        _check(detector, split)
        name = register(split)
        mapper = detector.mapper(name, augmented=False, annotated=True)
        self._loader = evaluation_loader(mapper, name, batch_size, detector.loader_config.workers)

    def __call__(self, model: nn.Module) -> dict[str, float]:  # noqa: D102
        sums: dict[str, float] = defaultdict(float)
        images = 0
        _losses_only(model)
        # The storage takes what detectron2 counts on the way; the training's own shall not have it.
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
    contents = check_annotations_file(split)
    needs = {
        "masks": detector.has_masks and not contents.has_masks,
        "keypoints": detector.has_keypoints and not contents.has_keypoints,
    }
    if lacking := [name for name, is_lacking in needs.items() if is_lacking]:
        raise ConfigError(
            f"evaluation.loss_period needs {' and '.join(lacking)} of all objects in {split.annotations} for a model "
            "that learns them. Give them, leave evaluation.loss_period=null, or take another model."
        )


def _losses_only(model: nn.Module) -> None:
    """Training mode, in which detectron2 gives losses, without what else that mode does."""
    model.train()
    for module in model.modules():
        if isinstance(module, (_BatchNorm, _DropoutNd)) or type(module).__name__ == "DropPath":
            module.eval()
