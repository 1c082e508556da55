"""Files behind `model.config`, `model.weights` and `model.imports`, found without importing detectron2."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, lru_cache, wraps
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ablation.config.base import expand_home
from ablation.config.model import ModelConfig
from ablation.models.checkpoint_files import find_problem
from ablation.models.known_keys import has_unknown_key
from ablation.records.errors import ConfigError

OWN_PREFIX = "ablation://"
_EXAMPLE = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
_OWN_FOLDER = Path(__file__).parent / "zoo"

_Content = TypeVar("_Content")


def _cached_per_file(read: Callable[[Path], _Content]) -> Callable[[Path], _Content]:
    """Call a function of a file again only after the file has changed; every cell of a sweep names the same files."""
    cached = lru_cache(maxsize=256)(lambda path, _modified, _size: read(path))

    @wraps(read)
    def read_again_if_changed(path: Path) -> _Content:
        stat = path.stat()
        return cached(path, stat.st_mtime_ns, stat.st_size)

    return read_again_if_changed


def config_file(name: str) -> Path:
    """Return the file behind `model.config`, YAML or LazyConfig (.py).

    Args:
        name: A path, a name of detectron2's model zoo, or `ablation://` and a name shipped with this package.

    Raises:
        ConfigError: There is no such file.
    """
    if name.startswith(OWN_PREFIX):
        return _require_file("model.config", _OWN_FOLDER / name.removeprefix(OWN_PREFIX))
    zoo = _zoo_folder()
    for candidate in (Path(expand_home(name)), *([zoo / name] if zoo else [])):
        if candidate.is_file():
            return candidate.resolve()
    known = sorted(str(path.relative_to(zoo)) for kind in ("*.yaml", "*.py") for path in zoo.rglob(kind)) if zoo else []
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"For example {_EXAMPLE}."
    raise ConfigError(
        f"model.config must be a YAML or .py file that exists or a name of detectron2's model zoo, got {name!r}. {hint}"
    )


def needs_building(model: ModelConfig) -> bool:
    """Return True if only building the model shows whether its config and weights are sound.

    This is so for code, overrides and weights of the user's own, and for YAML with a key that detectron2 may not know.
    """
    is_pair = model.config.startswith(OWN_PREFIX) and model.weights.startswith(OWN_PREFIX)
    if model.overrides or model.imports or not (is_pair or weights_file(model.weights) is None):
        return True
    path = config_file(model.config)
    own = (_OWN_FOLDER.resolve(), *([zoo.resolve()] if (zoo := _zoo_folder()) else []))
    if any(path.is_relative_to(folder) for folder in own):
        return False
    return path.suffix == ".py" or any(has_unknown_key(_content(file)) for file in _config_and_bases(path))


def needs_unsafe_loader(path: Path) -> bool:
    """Return True if a config file, or one that it builds on, holds Python code in its YAML.

    The anchor sizes of detectron2's RetinaNet are such code. Code of detectron2's own zoo is trusted as detectron2 is.

    Raises:
        ConfigError: The code is in a file outside the zoo.
    """
    tags = {file: found for file in _config_and_bases(path) if (found := _python_tags(file))}
    zoo = _zoo_folder()
    for file, found in tags.items():
        if zoo is None or not file.is_relative_to(zoo.resolve()):
            raise ConfigError(
                f"model.config: {file} holds Python code ({found[0]}), which is run from files of detectron2's model "
                "zoo only. Write the values out."
            )
    return bool(tags)


def weights_file(name: str) -> Path | None:
    """Return the local file behind `model.weights`; None for no weights and for addresses that detectron2 fetches.

    Raises:
        ConfigError: A local path does not exist, or what is there is no whole checkpoint.
    """
    if name.startswith(OWN_PREFIX):
        return _require_file("model.weights", _OWN_FOLDER / name.removeprefix(OWN_PREFIX))
    if not name or "://" in name:
        return None
    path = _require_file("model.weights", Path(expand_home(name)))
    try:
        problem = _find_problem(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if problem:
        raise ConfigError(explain_problem(path, problem))
    return path


def explain_problem(path: Path, problem: str) -> str:
    """Return the message about a file of weights that is not a whole checkpoint."""
    return f"model.weights: {path} is {problem}. Give a whole .pth, .pkl or .safetensors file, or '' for none."


def model_fingerprint(model: ModelConfig) -> dict[str, object]:
    """Return what decides the model before training: digests of config files, weights and imports, and overrides."""
    path = config_file(model.config)
    files = _config_and_imports(path) if path.suffix == ".py" else _config_and_bases(path)
    weights = weights_file(model.weights)
    fingerprint: dict[str, object] = {
        "config": [_digest(path) for path in files],
        "weights": _digest(weights) if weights else model.weights,
        "overrides": model.overrides,
    }
    if model.imports:
        fingerprint["imports"] = [_digest(file) for name in model.imports for file in _module_files(name)]
    return fingerprint


def _config_and_imports(path: Path) -> list[Path]:
    """Return a LazyConfig file and those that it imports relatively; packages are covered by their versions."""
    found = {path: None}
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"model.config: {path} is not Python: {error}. Give a LazyConfig file.") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            near = folder.joinpath(*(node.module or "").split("."))
            files = [near.with_suffix(".py")] if node.module else [folder / f"{name.name}.py" for name in node.names]
            found |= dict.fromkeys(base for file in files if file.is_file() for base in _config_and_imports(file))
    return list(found)


def _module_files(name: str) -> list[Path]:
    """Return the Python files of a module or package, also from the working folder; nothing of it is run."""
    top, *rest = name.split(".")
    spec = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if spec is None or not (spec.origin or spec.submodule_search_locations):
        raise ConfigError(
            f"model.imports: there is no module {name!r}, neither in {Path.cwd()} nor installed. Check the name."
        )
    if not spec.submodule_search_locations:
        return [Path(str(spec.origin))]
    folder = Path(spec.submodule_search_locations[0]).joinpath(*rest)
    if folder.is_dir():
        return sorted(folder.rglob("*.py"))
    return [_require_file("model.imports", folder.with_suffix(".py"))]


def _config_and_bases(path: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """Return a config file and those that it builds on by `_BASE_`, which may be one name or a list."""
    if path in above:
        raise ConfigError(f"model.config: {path} is its own _BASE_. Break the circle.")
    files = [path]
    for name in _bases(path):
        base = _require_file("_BASE_", path.parent / expand_home(name))
        files += _config_and_bases(base, (*above, path))
    return files


def _bases(path: Path) -> tuple[str, ...]:
    bases = _content(path).get("_BASE_", [])
    return tuple(map(str, bases)) if isinstance(bases, list) else (str(bases),)


@_cached_per_file
def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 (a SafeLoader that keeps tags as text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = str(error).splitlines()[-1].strip()
        raise ConfigError(f"model.config: {path} is not YAML: {where}. Give a detectron2 config file.") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"model.config: {path} is no detectron2 config: expected keys and values, got {type(content).__name__}."
        )
    return content


@_cached_per_file
def _python_tags(path: Path) -> tuple[str, ...]:
    tags = (getattr(event, "tag", None) or "" for event in yaml.parse(path.read_bytes(), _Loader))
    return tuple(tag for tag in tags if tag.startswith("tag:yaml.org,2002:python/"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads tags that only detectron2 understands as None."""


_Loader.add_multi_constructor("", lambda _loader, _suffix, _node: None)


def _require_file(key: str, path: Path) -> Path:
    if not path.is_file():
        hint = " Make it with `make pretrain`." if path.parent == _OWN_FOLDER and path.suffix == ".safetensors" else ""
        raise ConfigError(f"{key} must be a file that exists, got {path}. Check the path.{hint}")
    return path.resolve()


@cache
def _zoo_folder() -> Path | None:
    # find_spec of a top-level package runs none of its code.
    spec = importlib.util.find_spec("detectron2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model_zoo" / "configs"


_find_problem = _cached_per_file(find_problem)


@_cached_per_file
def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be read: {error.strerror}. Check its permissions.")
