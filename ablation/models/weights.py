"""Checkpoints that a model starts from, read without running code in them."""

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
from ablation.records.errors import RunError, is_out_of_space
from ablation.records.schema import WeightsReport

# All that unpickling an array needs; detectron2's own .pkl files hold nothing else.
_SAFE_CLASSES = {
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
    """Load a checkpoint as detectron2 does: layers that are missing or of another shape keep their initial values.

    Args:
        model: Changed in place.
        path: .pth, .pkl or .safetensors, of any address that detectron2's path manager knows; '' for none.
        allow_pickle: True to run code that the file may hold.

    Returns:
        Which layers were loaded; None without a path.

    Raises:
        RunError: No layer fits, an address cannot be fetched, or the file holds code and `allow_pickle` is false.
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
    except (OSError, AssertionError) as error:
        if "://" not in path or is_out_of_space(error):
            raise
        raise RunError(
            f"model.weights: {path} cannot be fetched: {str(error).splitlines()[0]}. Check the address and the "
            "network, or fetch the file elsewhere and give its path."
        ) from error
    report = checkpointer.report(path)
    if not report.loaded:
        raise RunError(
            f"model.weights: no layer of {path} fits this model. Give weights of the same architecture, or '' for none."
        )
    return report


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all parameters and buffers as .safetensors, atomically."""
    with replacing(path) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE_CLASSES:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return super().find_class(module, name)


class _Checkpointer(DetectionCheckpointer):  # type: ignore[misc]
    """Reads safetensors too, runs no code unless that is allowed, and reports which layers were loaded."""

    def __init__(self, model: nn.Module, allow_pickle: bool) -> None:
        super().__init__(model)
        self._allow_pickle = allow_pickle
        self._incompatible: Any = None

    def report(self, path: str) -> WeightsReport:
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
                _ArrayUnpickler(file, encoding="latin1").load()  # raises where detectron2 would run the code
        loaded: dict[str, Any] = super()._load_file(filename)
        return loaded

    def _torch_load(self, f: str) -> dict[str, Any]:
        loaded: dict[str, Any] = torch.load(f, map_location="cpu", weights_only=not self._allow_pickle)
        return loaded
