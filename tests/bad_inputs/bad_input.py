"""One bad input of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class BadInput:
    """A command that must be refused.

    Attributes:
        what: what is wrong; names the test.
        arguments: the command line, separated by spaces, or a function that makes files in an empty folder and
            returns the arguments.
        names: texts that the message must hold: what was given and where, what is allowed, what to do.
        program: the command. `run` is given the micro model and generated images before the arguments; `bare run`
            is not.
        status: exit status; 2 for what argparse refuses.
    """

    what: str
    arguments: str | Callable[[Path], Sequence[str]]
    names: tuple[str, ...]
    program: Literal["run", "bare run", "report", "preview"] = "run"
    status: int = 1

    def __str__(self) -> str:
        return self.what
