"""How far a run is, told by the process that works to whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A moment of a run.

    stage: train or evaluate; done, total: iterations or batches of images; loss: total training loss;
    seconds_left: estimate for this stage; rate: steps of it per second.
    """

    stage: str
    done: int
    total: int
    loss: float | None = None
    seconds_left: float | None = None
    rate: float | None = None


_listener: Callable[[Progress], None] | None = None


def set_listener(listener: Callable[[Progress], None] | None) -> None:
    """Name who in this process is told; None for nobody, which is how a process starts."""
    global _listener  # noqa: PLW0603 - one process, one watcher
    _listener = listener


def report_progress(progress: Progress) -> None:
    """Tell the watcher, if there is one."""
    if _listener is not None:
        _listener(progress)
