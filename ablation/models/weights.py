"""Checkpoints that a model starts from: read without running their code, and told layer by layer what fitted."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file, save_file
from torch import nn

from ablation.records.atomic import replacing
from ablation.records.errors import RunError
from ablation.records.schema import WeightsReport

# All that an array needs to come back from a pickle; detectron2's own .pkl files hold nothing else.
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
}


def load_weights(model: nn.Module, path: str, *, allow_pickle: bool = False) -> WeightsReport | None:
    """Start from a checkpoint as detectron2 does: layers that are missing or of another shape keep their init.

    path: what detectron2's path manager knows, .pth, .pkl or .safetensors; '' for nothing.

    Raises:
        RunError: no layer fits, or the file holds code and `allow_pickle` is off.
    """
    if not path:
        return None
    checkpointer = _Checkpointer(model, allow_pickle)
    try:
        checkpointer.load(path)
    except pickle.UnpicklingError as error:
        if allow_pickle:
            raise
        raise RunError(
            f"model.weights: {path} is a pickle of more than arrays and could run any code. If you trust where it "
            "comes from, set model.allow_pickle=true; better, convert it to .safetensors."
        ) from error
    told = checkpointer.told(path)
    if not told.loaded:
        raise RunError(
            f"model.weights: no layer of {path} fits this model. Give weights of the same architecture, or '' for none."
        )
    return told


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all parameters and buffers as .safetensors, whole or not at all."""
    with replacing(path) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return super().find_class(module, name)


class _Checkpointer(DetectionCheckpointer):  # type: ignore[misc]
    """Reads safetensors too, runs no code of a checkpoint unless that is allowed, and remembers what fitted."""

    def __init__(self, model: nn.Module, allow_pickle: bool) -> None:
        super().__init__(model)
        self._allow_pickle = allow_pickle
        self._incompatible: Any = None

    def told(self, path: str) -> WeightsReport:
        names = set(dict(self.model.state_dict()))
        missing, shapes = set(self._incompatible.missing_keys), {key for key, *_ in self._incompatible.incorrect_shapes}
        return WeightsReport(
            path=path,
            loaded=len(names - missing - shapes),
            missing=tuple(sorted(missing - shapes)),
            wrong_shape=tuple(sorted(shapes)),
            unexpected=tuple(sorted(self._incompatible.unexpected_keys)),
        )

    def _load_model(self, checkpoint: Any) -> Any:
        self._incompatible = super()._load_model(checkpoint)
        return self._incompatible

    def _load_file(self, filename: str) -> dict[str, Any]:
        if filename.endswith(".safetensors"):
            return {"model": load_file(filename)}
        if filename.endswith(".pkl") and not self._allow_pickle:
            with PathManager.open(filename, "rb") as file:
                _Arrays(file, encoding="latin1").load()  # raises, where detectron2 would run what stands in it
        loaded: dict[str, Any] = super()._load_file(filename)
        return loaded

    def _torch_load(self, f: str) -> dict[str, Any]:
        loaded: dict[str, Any] = torch.load(f, map_location="cpu", weights_only=not self._allow_pickle)
        return loaded
