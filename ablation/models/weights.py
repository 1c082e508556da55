"""Checkpoints that a model starts from, read without running code in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ablation.models.checkpoint_files import find_problem
from ablation.models.locate import explain_problem
from ablation.records.atomic import replacing
from ablation.records.errors import RunError, first_line, is_out_of_space
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
_TORCH_REFUSES = "WeightsUnpickler error: Unsupported "  # and then the global or class that `weights_only` refuses
_WRAPPERS = (
    "model",
    "state_dict",
    "model_state",
    "model_state_dict",
)  # where the arrays are, in files of several tools
# Of the model's parameters. A backbone alone is a third or more; a few biases fit a model of any width by chance.
_LEAST_SHARE = 0.1
_SHOWN = 3  # names in a message


def load_weights(model: nn.Module, path: str, *, allow_pickle: bool = False) -> WeightsReport | None:
    """Load a checkpoint as detectron2 does: layers that are missing or of another shape keep their initial values.

    Args:
        model: Changed in place.
        path: .pth, .pkl or .safetensors, of any address that detectron2's path manager knows; '' for none.
        allow_pickle: True to run code that the file may hold.

    Returns:
        Which layers were loaded; None without a path.

    Raises:
        RunError: The file cannot be read or is no checkpoint, too few layers fit, or it holds code and `allow_pickle`
            is false.
    """
    if not path:
        return None
    checkpointer = _Checkpointer(model, allow_pickle)
    try:
        checkpointer.load(path)
    except (OSError, HTTPException, AssertionError, ValueError) as error:  # what detectron2 and urllib raise
        if is_out_of_space(error):
            raise
        if "://" in path:
            raise RunError(
                f"model.weights: {path} cannot be fetched: {first_line(error)}. Check the address and the network, or "
                "fetch the file elsewhere and give its path."
            ) from error
        raise RunError(f"model.weights: {path} cannot be loaded: {first_line(error)}. Give another file.") from error
    checkpointer.check_fit(path)
    return checkpointer.report(path)


def load_own_weights(model: nn.Module, path: Path) -> None:
    """Load all parameters and buffers, as `save_weights` wrote them.

    Raises:
        RunError: The file is damaged or is of another model.
    """
    report = load_weights(model, str(path))
    if report is None or report.missing or report.wrong_shape or report.unexpected:
        raise RunError(
            f"{path} is not what the training of this model saved. Remove it and repeat the command, which trains "
            "again."
        )


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all parameters and buffers as .safetensors, atomically."""
    with replacing(path) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)


class _CodeInPickle(pickle.UnpicklingError):
    """A pickle needs more than arrays and plain types."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE_CLASSES:
            raise _CodeInPickle(f"{module}.{name} is not part of an array")
        return super().find_class(module, name)


class _Checkpointer(DetectionCheckpointer):  # type: ignore[misc]
    """Reads safetensors too, runs no code unless that is allowed, and reports which layers were loaded."""

    def __init__(self, model: nn.Module, allow_pickle: bool) -> None:
        super().__init__(model)
        self._allow_pickle = allow_pickle
        self._incompatible: Any = None
        self._names: tuple[str, ...] = ()  # in the file
        self._arrays: dict[str, Tensor] = {}  # of the file, by the model's names once they are loaded

    def check_fit(self, path: str) -> None:
        """Refuse a checkpoint of another architecture."""
        parameters = [name for name, _ in self.model.named_parameters()]
        fitting = sum(name in self._arrays for name in parameters)
        if fitting < _LEAST_SHARE * len(parameters):
            raise RunError(
                f"model.weights: {path} fits nothing: {fitting} of the {len(parameters)} parameters of this model, and "
                f"a tenth is the least. It has {_first(self._names)}; the model has {_first(parameters)}. Give weights "
                "of the same architecture, or '' for none."
            )

    def report(self, path: str) -> WeightsReport:
        names = set(dict(self.model.state_dict()))
        missing, shapes = set(self._incompatible.missing_keys), {key for key, *_ in self._incompatible.incorrect_shapes}
        return WeightsReport(
            path=path,
            # Not all that torch does not miss: a FrozenBatchNorm fills in statistics that the file lacks.
            loaded=len(names & self._arrays.keys()),
            missing=tuple(sorted(missing - shapes)),
            wrong_shape=tuple(sorted(shapes)),
            unexpected=tuple(sorted(self._incompatible.unexpected_keys)),
        )

    def _load_model(self, checkpoint: Any) -> Any:
        self._incompatible = super()._load_model(checkpoint)
        return self._incompatible

    def _convert_ndarray_to_tensor(self, state_dict: dict[str, Any]) -> None:
        # detectron2 calls this last with the names of the model, and then drops arrays of another shape in place.
        super()._convert_ndarray_to_tensor(state_dict)
        self._arrays = state_dict

    def _load_file(self, filename: str) -> dict[str, Any]:
        path = Path(filename)
        if problem := find_problem(path):
            raise RunError(explain_problem(path, problem))
        try:
            checkpoint = self._read(filename)
            found = _find_arrays(checkpoint["model"])
            arrays = {name: torch.as_tensor(value) for name, value in found.items()}
        except Exception as error:  # each format raises types of its own for a damaged file
            raise RunError(self._explain(path, error)) from error
        self._names = tuple(arrays)
        # detectron2 takes a .pkl without "model" for one of Caffe2 and translates its names.
        is_wrapped = any(key in _WRAPPERS for key in checkpoint["model"])
        return {"model": arrays} if is_wrapped else {**checkpoint, "model": arrays}

    def _read(self, filename: str) -> dict[str, Any]:
        """Return the content of a file as detectron2 does, with the arrays below "model"."""
        if filename.endswith(".safetensors"):
            return {"model": load_file(filename)}
        if filename.endswith(".pkl") and not self._allow_pickle:
            with PathManager.open(filename, "rb") as file:
                _ArrayUnpickler(file, encoding="latin1").load()  # raises where detectron2 would run the code
        loaded: dict[str, Any] = super()._load_file(filename)
        return loaded

    def _torch_load(self, f: str) -> Any:
        loaded = torch.load(f, map_location="cpu", weights_only=not self._allow_pickle)
        return loaded if isinstance(loaded, dict) else {"model": loaded}

    def _explain(self, path: Path, error: Exception) -> str:
        is_code = isinstance(error, _CodeInPickle) or _TORCH_REFUSES in str(error)
        if is_code and not self._allow_pickle:
            return (
                f"model.weights: {path} is a pickle of more than arrays and could run any code. If you trust where it "
                "comes from, set model.allow_pickle=true; better, convert it to .safetensors."
            )
        reason = (
            error.args[0] if isinstance(error, _NoArrays) else f"damaged ({type(error).__name__}: {first_line(error)})"
        )
        return explain_problem(path, reason)


class _NoArrays(ValueError):
    """A file holds no arrays where a checkpoint has them."""


def _find_arrays(content: Any) -> dict[str, Any]:
    """Return the arrays of a checkpoint by name, from inside the keys that other tools wrap them in."""
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            arrays = {
                key: x for key, x in content.items() if isinstance(key, str) and isinstance(x, Tensor | np.ndarray)
            }
            if not arrays:
                found = f"its keys are {_first([str(key) for key in content])}" if content else "it has no keys"
                raise _NoArrays(
                    f"without arrays: {found}, and arrays are looked for there or in {', '.join(_WRAPPERS)}"
                )
            return arrays
        content = inner[0]
    raise _NoArrays(f"no checkpoint but a {type(content).__name__}")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
