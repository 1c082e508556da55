"""Signal handlers for the time of a block."""

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
