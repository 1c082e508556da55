"""Versions of the packages that a result was computed with. Imports none of them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import platform
import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

_OPTIONAL = ("imagecorruptions-imaug", "scikit-image")  # only evaluation.corruptions needs them


@cache
def versions() -> Mapping[str, str]:
    """Return versions by package name, and under `detectron2 source` which commit of detectron2 is installed."""
    packages = ("torch", "torchvision", "numpy", "pycocotools", "fvcore")
    installed = {name: metadata.version(name) for name in packages}
    for name in _OPTIONAL:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return {"python": platform.python_version(), **_detectron2(), **installed}


def difference(then: Mapping[str, object], now: Mapping[str, str]) -> list[str]:
    """List what changed, as "torch 2.4.0 -> 2.5.1". What `then` does not name is not compared."""
    return [f"{name} {then[name]} -> {version}" for name, version in now.items() if then.get(name, version) != version]


def _detectron2() -> Mapping[str, str]:
    # Its distribution goes by several names, so importlib.metadata cannot find it; the package states its version.
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return {"detectron2": "not installed"}
    found = re.search(r'__version__ = "([^"]+)"', Path(spec.origin).read_text(encoding="utf-8"))
    return {"detectron2": found[1] if found else "unknown", "detectron2 source": _commit() or _hash(spec.origin)}


def _commit() -> str | None:
    """Return the commit that pip noted when it installed detectron2 from a repository."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        noted = json.loads(metadata.distribution("detectron2").read_text("direct_url.json") or "{}")
        if commit := noted.get("vcs_info", {}).get("commit_id"):
            return f"commit {commit[:12]}"
    return None


def _hash(origin: str) -> str:
    # Every commit since 2021 calls itself 0.6.
    digest = hashlib.sha256()
    folder = Path(origin).parent
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode() + file.read_bytes())
    return f"files {digest.hexdigest()[:12]}"
