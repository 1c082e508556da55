"""Weights, checkpoints, model configs and keys of the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bad_inputs.bad_input import BadInput


def _weights(name: str, content: bytes) -> Callable[[Path], Sequence[str]]:
    """The arguments of a command whose weights are a file of this content."""

    def make(folder: Path) -> Sequence[str]:
        (folder / name).write_bytes(content)
        return [f"model.weights={folder / name}"]

    return make


def _config(name: str, content: str, *more: str) -> Callable[[Path], Sequence[str]]:
    """The arguments of a command whose model config is a file of this content."""

    def make(folder: Path) -> Sequence[str]:
        (folder / name).write_text(content)
        return [f"model.config={folder / name}", *more]

    return make


def _image(name: str, content: bytes) -> Callable[[Path], Sequence[str]]:
    """The arguments of a preview of a file of this content."""

    def make(folder: Path) -> Sequence[str]:
        (folder / name).write_bytes(content)
        return ["--image", str(folder / name), *SMALL]

    return make


def _folder_instead_of_weights(folder: Path) -> Sequence[str]:
    return [f"model.weights={folder}"]


def _damaged_weights_in_a_preview(folder: Path) -> Sequence[str]:
    return [*_weights("w.pth", b"<html>")(folder), "noise.sigma=0.1"]


_HEADER = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
SAFETENSORS = len(_HEADER).to_bytes(8, "little") + _HEADER
WHOLE = "Give a whole .pth, .pkl or .safetensors file, or '' for none."

WEIGHTS = [
    BadInput("empty weights", _weights("w.pth", b""), ("w.pth is empty", WHOLE)),
    BadInput("weights of white space", _weights("w.pkl", b"\n\n  "), ("w.pkl is empty", WHOLE)),
    BadInput("an HTML page as weights", _weights("w.pkl", b"\n<!DOCTYPE html>"), ("w.pkl is an HTML", WHOLE)),
    BadInput("an error in XML as weights", _weights("w.pth", b"<?xml version='1.0'?><Error>"), ("HTML or XML", WHOLE)),
    BadInput("plain text as weights", _weights("w.pth", b"hello world\n"), ("w.pth is text", WHOLE)),
    BadInput("JSON as weights", _weights("w.pth", b'{"a": 1}'), ("w.pth is text", WHOLE)),
    BadInput(
        "a pointer of Git LFS as weights",
        _weights("w.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        ("w.pth is a pointer of Git LFS", "git lfs pull"),
    ),
    BadInput("a picture as weights", _weights("w.pth", b"\x89PNG\r\n\x1a\n\0"), ("w.pth is an image", WHOLE)),
    BadInput("a gzip file as weights", _weights("w.pkl", b"\x1f\x8b\x08\0"), ("compressed by gzip", WHOLE)),
    BadInput("weights of Keras", _weights("w.pth", b"\x89HDF\r\n\x1a\n"), ("w.pth is an HDF5 file", WHOLE)),
    BadInput("a NumPy array as weights", _weights("w.pkl", b"\x93NUMPY\x01\0"), ("a NumPy array", WHOLE)),
    BadInput("a torn .pth", _weights("w.pth", b"PK\x03\x04" + bytes(99)), ("w.pth is damaged (its end", WHOLE)),
    BadInput("an empty zip", _weights("w.pth", b"PK\x05\x06" + bytes(18)), ("zip archive of something else", WHOLE)),
    BadInput("a torn .safetensors", _weights("w.safetensors", SAFETENSORS + bytes(9)), ("is damaged", WHOLE)),
    BadInput("the start of a .safetensors", _weights("w.safetensors", SAFETENSORS[:30]), ("is damaged", WHOLE)),
    BadInput("text as .safetensors", _weights("w.safetensors", b"hello world, hello"), ("is text", WHOLE)),
    BadInput("safetensors as .pth", _weights("w.pth", SAFETENSORS + bytes(36)), ("called .safetensors", WHOLE)),
    BadInput(
        "a pickle as .safetensors",
        _weights("w.safetensors", b"\x80\x02}."),
        ("which is called .pth", WHOLE),
    ),
    BadInput("a folder as weights", _folder_instead_of_weights, ("model.weights must be a file that exists",)),
    BadInput("shipped weights that do not exist", "model.weights=ablation://x.pth", ("must be a file", "x.pth")),
    BadInput("a misspelt address", "model.weights=detectron://x.pkl", ("'detectron://x.pkl'", "detectron2://")),
    BadInput("weights of a number", "model.weights=5", ("model.weights must be text, got 5.",)),
    BadInput("no weights by null", "model.weights=null", ("model.weights must be text, got null.",)),
    BadInput("a word for a flag", "model.allow_pickle=maybe", ("model.allow_pickle must be true or false",)),
]

MODELS = [
    BadInput("no config", "model.config=''", ("model.config must be a YAML or .py file",)),
    BadInput("an empty config", _config("m.yaml", ""), ("m.yaml is no detectron2 config", "NoneType")),
    BadInput("a list as a config", _config("m.yaml", "- 1\n- 2\n"), ("m.yaml is no detectron2 config", "list")),
    BadInput("a config with a tab", _config("m.yaml", "MODEL:\n\tX: 1\n"), ("m.yaml is not YAML",)),
    BadInput("a config that is its own base", _config("m.yaml", "_BASE_: m.yaml\n"), ("own _BASE_", "Break")),
    BadInput("a base that does not exist", _config("m.yaml", "_BASE_: n.yaml\n"), ("_BASE_ must be a file",)),
    BadInput("a LazyConfig with an error", _config("m.py", "model = 3 +\n"), ("m.py is not Python",)),
    BadInput("a LazyConfig with a null byte", _config("m.py", "model = 1\0\n"), ("m.py is not Python",)),
    BadInput("a module that does not exist", "model.imports=[nothing_there]", ("no module 'nothing_there'",)),
    BadInput("imports without a list", "model.imports=mine", ("model.imports must be a list, got 'mine'.",)),
    BadInput("no overrides by null", "model.overrides=null", ("model.overrides must be a mapping",)),
    BadInput("the shuffling of a LazyConfig", "+model.overrides.dataloader.train.shuffle=x", ("train.shuffle",)),
    BadInput("detectron2's batch norm", "+model.overrides.TEST.PRECISE_BN.ENABLED=true", ("not supported",)),
    BadInput("proposals of a file", "+model.overrides.MODEL.LOAD_PROPOSALS=true", ("precomputed proposals",)),
    BadInput("detectron2's world size", "+model.overrides.SOLVER.REFERENCE_WORLD_SIZE=8", ("schedule.batch_size",)),
    BadInput("cuDNN's benchmark", "+model.overrides.CUDNN_BENCHMARK=true", ("use sweep.determinism",)),
    BadInput("two lengths", "+model.overrides.SOLVER.MAX_ITER=9 schedule.iterations=8", ("schedule.iterations=8",)),
    BadInput("two rates", "+model.overrides.SOLVER.BASE_LR=1 schedule.lr=0.1", ("schedule.lr=0.1", "Keep one")),
    BadInput("the seed of a LazyConfig", "+model.overrides.train.seed=3", ("use seed",)),
    BadInput("DDP of a LazyConfig", "+model.overrides.train.ddp.fp16_compression=true", ("train.max_iter",)),
]

PLANS = [
    BadInput("all in a list", "evaluation.corruptions=[all]", ("'all' is not a", "Write evaluation.corruptions=all.")),
    BadInput("no severity", "evaluation.severities=[]", ("evaluation.severities must be a list with at least one",)),
    BadInput("a severity of 6", "evaluation.severities=[6]", ("evaluation.severities must be a list of values <= 5",)),
    BadInput("a severity twice", "evaluation.severities=[1,1]", ("evaluation.severities must be distinct",)),
    BadInput("a test sigma twice", "evaluation.noise_grid.sigmas=[1,1]", ("noise_grid.sigmas must be distinct",)),
    BadInput("a test sigma below 0", "evaluation.noise_grid.sigmas=[-1]", ("a list of values >= 0, got [-1]",)),
    BadInput("a test sigma that is no number", "evaluation.noise_grid.sigmas=[nan]", ("finite numbers",)),
    BadInput("an unknown test noise", "evaluation.noise_grid.types=[gausian]", ("noise_grid", "Did you mean")),
    BadInput("levels without a list", "evaluation.noise_grid.levels=[p2]", ("such as [all,[p2],[p3,p4]]",)),
    BadInput("levels of nothing", "evaluation.noise_grid.levels=[[]]", ("must not hold an empty list",)),
    BadInput("too many draws", "evaluation.noise_grid.draws=1000000", ("draws must be <= 1000",)),
    BadInput("noise after the training", "schedule.iterations=9 noise.schedule.start=9", ("the noise would never",)),
]

SMALL = ("noise.sigma=0.1", "model.weights=''")
PREVIEWS = [
    BadInput("a score that is no number", "--score nan", ("--score", "from 0 to 1, got 'nan'"), "preview", 2),
    BadInput("a score below 0", "--score=-1", ("--score", "from 0 to 1, got '-1'"), "preview", 2),
    BadInput("a score above 1", "--score 50", ("--score", "from 0 to 1, got '50'"), "preview", 2),
    BadInput("a score in words", "--score half", ("--score", "from 0 to 1, got 'half'"), "preview", 2),
    BadInput("an unknown flag of the preview", "--picture x.png", ("unrecognized arguments",), "preview", 2),
    BadInput("an image of the preview without a name", "--image", ("--image: expected one argument",), "preview", 2),
    BadInput("a preview of no noise", "noise=none", ("There is no noise to show", "Choose one"), "preview"),
    BadInput("a preview of a sweep", "noise.sigma=0.1,0.2", ("is a sweep", "Give one value"), "preview"),
    BadInput("a preview of damaged weights", _damaged_weights_in_a_preview, ("w.pth is an HTML",), "preview"),
    BadInput("a preview of an unknown key", "noise.sgma=1", ("Did you mean noise.sigma?",), "preview"),
]

INPUTS = [*WEIGHTS, *MODELS, *PLANS, *PREVIEWS]
