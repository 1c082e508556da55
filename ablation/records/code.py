"""Fingerprints of source code by its tokens: comments, docstrings and blank lines do not count."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

# Python's own tokenizer gives f-strings as one token or as many, depending on its version, and takes ten times as long.
_TOKENS = re.compile(
    r"""
    (?P<string>[a-zA-Z]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<newline>(?:[ \t]*(?:\#[^\n]*)?\n)+[ \t]*)
    |(?P<skipped>\#[^\n]*|\\\n|[ \t\f]+)
    |(?P<other>\w+|[^\w\s])
    """,
    re.VERBOSE | re.DOTALL,
)


@cache
def fingerprint(*modules: str) -> str:
    """Return a short hash of modules of this package, given as paths below it without their suffix."""
    digest = hashlib.sha256()
    for module in sorted(modules):
        text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
        digest.update("\0".join([module, *tokens(text)]).encode())
    return digest.hexdigest()[:12]


def tokens(text: str) -> Iterator[str]:
    """Yield the tokens of a source text, with one for each end of a statement and the indentation after it.

    Strings that are statements, such as docstrings, are left out.
    """
    depth = 0  # of brackets: inside them the end of a line means nothing
    pending = "\n"  # the last end of a line, held back until something follows
    line: list[str] = []
    for match in _TOKENS.finditer(f"{text}\n"):
        kind, token = match.lastgroup, match[0]
        if kind == "newline" and depth == 0:
            yield from _statement(pending, line)
            pending, line = "\n" + token.rpartition("\n")[2], []
        elif kind in ("string", "other"):
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token, 0)
            line.append(token)


def _statement(newline: str, line: list[str]) -> list[str]:
    is_docstring = len(line) == 1 and line[0][-1] in "\"'"
    return [] if is_docstring or not line else [newline, *line]
