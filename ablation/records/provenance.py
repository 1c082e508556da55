"""Versions of the packages and of the code that a result was computed with. Imports none of them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import platform
import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# The packages that decide results. Plans, processes, records and reports change no number.
DECISIVE = ("data", "evaluation", "models", "noise", "scoring", "training", "execute")
_OPTIONAL = ("imagecorruptions-imaug", "scikit-image")  # only evaluation.corruptions needs them


@cache
def versions() -> Mapping[str, str]:
    """Return versions by package name, and under `code` a hash of the source files that decide results."""
    packages = ("torch", "torchvision", "numpy", "pycocotools", "fvcore")
    installed = {name: metadata.version(name) for name in packages}
    for name in _OPTIONAL:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return {"python": platform.python_version(), "detectron2": _detectron2(), **installed, "code": _code()}


def difference(then: Mapping[str, object], now: Mapping[str, str]) -> str:
    """Describe the versions that changed, as "torch 2.4.0 -> 2.5.1"; an empty string if none did."""
    changed = [(name, then[name], version) for name, version in now.items() if then.get(name, version) != version]
    return ", ".join(f"{name} {before} -> {after}" for name, before, after in changed)


def _detectron2() -> str:
    # Its distribution goes by several names, so importlib.metadata cannot find it; the package states its version.
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return "not installed"
    found = re.search(r'__version__ = "([^"]+)"', Path(spec.origin).read_text(encoding="utf-8"))
    return found[1] if found else "unknown"


def _code() -> str:
    digest = hashlib.sha256()
    for name in DECISIVE:
        path = _PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
