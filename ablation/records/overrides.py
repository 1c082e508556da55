"""Values as words of a command line that Hydra parses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Texts that Hydra reads without quotes, except for those that it takes for another type.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_OTHER = re.compile(r"null|true|false|nan|inf", re.IGNORECASE)


def hydra_value(value: Any) -> str:
    """Format a value so that Hydra's override grammar reads it back with its type."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ",".join(map(hydra_value, value)) + "]"
        case Mapping():
            return "{" + ",".join(f"{key}:{hydra_value(v)}" for key, v in value.items()) + "}"
    text = str(value)
    if _PLAIN.fullmatch(text) and not _OTHER.fullmatch(text):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text).replace("${", r"\${")
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
