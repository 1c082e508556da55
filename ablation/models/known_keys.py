"""Keys of a YAML config that detectron2 may not know, found without loading torch, so that a plan stays quick."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

_IMPORT = "from .config import CfgNode as CN"  # the only one in detectron2's file of defaults


def has_unknown_key(content: Mapping[str, Any]) -> bool:
    """Return True if a config has a key that is not among detectron2's defaults, or if these cannot be read.

    Only detectron2 itself can tell whether such a key is wrong: it also knows the keys of former versions.
    """
    defaults = _defaults()
    return defaults is None or not _is_known({k: v for k, v in content.items() if k != "_BASE_"}, defaults)


def _is_known(content: Mapping[str, Any], defaults: CfgNode) -> bool:
    return all(
        key in defaults
        and (not isinstance(defaults[key], CfgNode) or (isinstance(value, dict) and _is_known(value, defaults[key])))
        for key, value in content.items()
    )


@cache
def _defaults() -> CfgNode | None:
    # Importing detectron2.config would load torch; the file itself only fills a CfgNode.
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "config" / "defaults.py").read_text(encoding="utf-8")
    if [line for line in text.splitlines() if line.startswith(("import ", "from "))] != [_IMPORT]:
        return None
    names: dict[str, Any] = {"CN": CfgNode}
    exec(text.replace(_IMPORT, ""), names)  # noqa: S102 - a file of detectron2, as importing it would do
    defaults: CfgNode = names["_C"]
    return defaults
