"""Which source files decided a result: a change of any other one does not keep a sweep from growing.

The files form parts, by package; of alternatives, such as noise types, each is a part of its own. A record holds the
fingerprints of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from ablation.config.schemas import RunConfig
from ablation.data.build import KINDS
from ablation.models.locate import config_file
from ablation.records.code import PACKAGE, fingerprint

USUAL_PARTS = ("execute", "data", "data/shapes", "models", "models/yacs", "training", "evaluation", "scoring")
# Modules that only some results use; `_training_parts` and `_evaluation_parts` say which.
_ALTERNATIVES = (
    *("training/distributed", "training/validation", "models/lazy", "models/yacs", "models/zoo"),
    *("evaluation/corruptions", "evaluation/robustness"),
)
_HARMLESS = ("evaluation/pictures", "data/survey")  # what is shown and said
_IMPORT = re.compile(r"^ *from ablation\.([\w.]+) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def training_code(config: RunConfig) -> Mapping[str, str]:
    """Return the fingerprints of the parts that decide a training, by name."""
    return {part: fingerprint_part(part) for part in _training_parts(config)}


def evaluation_code(config: RunConfig) -> Mapping[str, str]:
    """Return the fingerprints of the parts that decide the evaluation of a trained model, by name."""
    return {part: fingerprint_part(part) for part in _evaluation_parts(config)}


def changed_code(then: object) -> list[str]:
    """List the parts whose code has changed, as "code of noise/gaussian".

    Args:
        then: Fingerprints by part, as a record holds them. Records of earlier versions hold one for all the code
            instead, with which nothing can be compared: the list is empty.
    """
    parts = then if isinstance(then, Mapping) else {}
    return [f"code of {part}" for part, code in parts.items() if code != fingerprint_part(part)]


@cache
def fingerprint_part(part: str) -> str:
    """Return the fingerprint of a part as it is now, or `gone` if there is no such part any more."""
    try:
        return fingerprint(*_modules(part))
    except (FileNotFoundError, KeyError):
        return "gone"


def _training_parts(config: RunConfig) -> Iterator[str]:
    yield from _common_parts(config)
    yield from ("training", "config/schedule")
    if config.schedule.devices > 1:
        yield "training/distributed"
    if config.evaluation.loss_period is not None:
        yield "training/validation"
    if config.noise.acts("train"):
        yield f"noise/{config.noise.type}"


def _evaluation_parts(config: RunConfig) -> Iterator[str]:
    yield from _common_parts(config)
    yield from ("evaluation", "scoring")
    grid, conditions = config.evaluation.noise_grid.cells, config.evaluation.conditions()
    if conditions:
        yield "evaluation/corruptions"
    if grid or conditions:
        yield "evaluation/robustness"
    noises = [*([config.noise] if config.noise.acts("eval") else []), *(cell.noise for cell in grid)]
    yield from {f"noise/{noise.type}": None for noise in noises if noise.built is not None}


def _common_parts(config: RunConfig) -> Iterator[str]:
    is_lazy = config_file(config.model.config).suffix == ".py"
    yield from ("execute", "models", "models/lazy" if is_lazy else "models/yacs", "data", f"data/{config.dataset.type}")


def _modules(part: str) -> Iterable[str]:
    package, _, name = part.partition("/")
    if package == "noise":
        return _with_imports(part, package)
    if package == "data":
        common = _with_imports("data/loaders", package) | _with_imports("data/dataset", package)
        if name:
            kind = KINDS[name].__module__.removeprefix("ablation.").replace(".", "/")
            return _with_imports(kind, package) - common
        return common
    return [part] if name or not (PACKAGE / part).is_dir() else _package(part)


def _package(package: str) -> list[str]:
    """Return the modules of a package that all results use."""
    files = (file.relative_to(PACKAGE).with_suffix("").as_posix() for file in (PACKAGE / package).rglob("*.py"))
    return [module for module in files if not module.startswith((*_ALTERNATIVES, *_HARMLESS))]


def _with_imports(module: str, package: str) -> set[str]:
    """Return a module and what it imports from its own package, directly or through another one."""
    found: set[str] = set()
    left = [module]
    while left:
        module = left.pop()
        found.add(module)
        for source, names in _IMPORT.findall((PACKAGE / f"{module}.py").read_text(encoding="utf-8")):
            path = source.replace(".", "/")
            imported = (path, *(f"{path}/{name}" for name in re.findall(r"\w+", names)))
            left += [m for m in imported if _is_new(m, package, found)]
    return found


def _is_new(module: str, package: str, found: set[str]) -> bool:
    is_ours = module.startswith(f"{package}/") and module not in (*found, *_HARMLESS)
    return is_ours and (PACKAGE / f"{module}.py").is_file()
