"""Forward hooks on the feature levels of an unmodified detectron2 model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ablation.models.levels import Levels

Features = dict[str, Tensor]
_Self = TypeVar("_Self", bound="FeatureHooks")
Transform = Callable[[str, Tensor], Tensor]


def find_levels(model: nn.Module) -> Levels:
    """Return the levels of a model, and which of them each consumer reads."""
    parts: Any = model
    outputs = tuple(parts.backbone.output_shape())
    network: Any = _bottom_up(model)
    # A ResNet names all its stages; its output_shape only those that something above it reads.
    stages = getattr(network, "stage_names", None) or network.output_shape()
    below = tuple(level for level in stages if isinstance(getattr(network, level, None), nn.Module))
    consumers = (getattr(parts, name, None) for name in ("proposal_generator", "roi_heads"))
    read = (None if c is None else tuple(getattr(c, "in_features", outputs)) for c in consumers)
    return Levels(outputs, below, *read)


class FeatureHooks:
    """Passes the features of some levels through a function during a `with` block.

    Hooks act in the order of their registration: of two nested blocks the inner one receives what the outer returned.

    Args:
        model: A model of detectron2 with a `backbone`.
        levels: The outputs and stages to hook; without any, no hook is attached.
        destination: Where outputs are replaced: behind the backbone ("both"), or only in what the RPN ("rpn") or the
            RoI heads ("roi") read.
        transform: Called with the level's name and its features, N×C×H×W; returns the features to go on with.

    Attributes:
        inputs: The batch of the current forward pass, as the model received it.
    """

    def __init__(self, model: nn.Module, levels: Levels, destination: str, transform: Transform) -> None:
        self.inputs: Sequence[Mapping[str, Any]] = ()
        self._model: Any = model
        self._levels = levels
        self._destination = destination
        self._transform = transform
        self._padded_size = (0, 0)
        self._handles: list[RemovableHandle] = []

    def __enter__(self: _Self) -> _Self:
        model = self._model
        if not (self._levels.outputs or self._levels.stages):
            return self
        self._handles = [
            model.register_forward_pre_hook(self._store_inputs),
            model.backbone.register_forward_pre_hook(self._store_padded_size),
        ]
        for level in self._levels.stages:
            # The stage itself, not the dict that the network returns: deeper stages see the change too.
            stage = getattr(_bottom_up(model), level)
            self._handles.append(stage.register_forward_hook(lambda _m, _args, x, at=level: self._transform(at, x)))
        if self._levels.outputs and self._destination == "both":
            self._handles.append(model.backbone.register_forward_hook(lambda _m, _args, x: self._transform_outputs(x)))
        elif self._levels.outputs:
            consumer = model.proposal_generator if self._destination == "rpn" else model.roi_heads
            self._handles.append(consumer.register_forward_pre_hook(self._before_consumer))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def extent(self, number: int, x: Tensor) -> tuple[int, int]:
        """Return height and width of an image of the batch at the resolution of x; what lies beyond is padding."""
        size = self.inputs[number]["image"].shape[-2:]
        height, width = (math.ceil(s * f / p) for s, f, p in zip(size, x.shape[-2:], self._padded_size, strict=True))
        return height, width

    def _store_inputs(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.inputs = arguments[0]

    def _store_padded_size(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._padded_size = tuple(arguments[0].shape[-2:])

    def _before_consumer(self, _module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        # Both consumers of detectron2 take (images, features, ...); the other one keeps its features.
        images, features, *rest = arguments
        return images, self._transform_outputs(features), *rest

    def _transform_outputs(self, features: Features) -> Features:
        outputs = self._levels.outputs
        return features | {level: self._transform(level, features[level]) for level in outputs if level in features}


def _bottom_up(model: nn.Module) -> nn.Module:
    """Return the network below a feature pyramid, or the backbone itself where there is no pyramid."""
    backbone: Any = model.backbone
    network: nn.Module = getattr(backbone, "bottom_up", backbone)
    return network
