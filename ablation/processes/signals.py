"""Signals for the time of a block: handled, or kept until it ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], None], *signals: int) -> Iterator[None]:
    """Call `handler` for these signals inside the block. No effect in a thread: Python handles signals in the main one.

    Args:
        handler: receives the number of the signal and the current stack frame.
        signals: numbers of the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def block_signals(*signals: int) -> Iterator[None]:
    """Keep these signals until the block ends. A process that is started inside keeps them for good."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
