"""Progress of a run, reported by the process that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Progress of a run at one moment.

    Attributes:
        stage: train or evaluate.
        done: completed iterations, or batches of images.
        total: all iterations or batches of this stage.
        loss: total training loss.
        seconds_left: estimate for this stage.
        rate: iterations or batches per second.
    """

    stage: str
    done: int
    total: int
    loss: float | None = None
    seconds_left: float | None = None
    rate: float | None = None


_listener: Callable[[Progress], None] | None = None


def set_listener(listener: Callable[[Progress], None] | None) -> None:
    """Set the function that receives the progress of this process; None, the default, for no function."""
    global _listener  # noqa: PLW0603 - a process has one listener
    _listener = listener


def report_progress(progress: Progress) -> None:
    """Call the listener, if there is one."""
    if _listener is not None:
        _listener(progress)
