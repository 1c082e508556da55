"""The process of one task: its output in a log, its result and its progress in a pipe, its end with its parent's."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ablation.processes import progress
from ablation.records.failure import failure_from

_GRACE = 60.0  # seconds that a process may take to save its checkpoint after SIGTERM


@dataclass(frozen=True)
class Task:
    """A call to make in a process of its own; function and arguments must pickle.

    log: file that receives the process's standard output and error.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    log: Path


def work(connection: Connection, task: Task, slot: Mapping[str, str], folder: str) -> None:
    """Do the task in `folder` with the slot's environment variables; tell through the connection.

    Sent are pairs: ("progress", Progress), then ("result", what the function returned) or ("failure", Failure).
    """
    os.chdir(folder)  # the server may have been started elsewhere
    os.environ.update(slot)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    _stop_with(connection)
    progress.set_listener(lambda update: _send(connection, "progress", update))
    try:
        _print_to(task.log)
        result = task.function(*task.arguments)
    except Exception as error:
        _send(connection, "failure", failure_from(error, task.log))
        with contextlib.suppress(OSError):  # of a disk that is full
            traceback.print_exc()
    else:
        connection.send(("result", result))
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()


def _print_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()


def _send(connection: Connection, kind: str, payload: Any) -> None:
    # A broken pipe means that the parent is gone; the watching thread ends this process in an orderly way.
    with contextlib.suppress(OSError):
        connection.send((kind, payload))


def _stop_with(connection: Connection) -> None:
    """End this process the way a user's Ctrl-C would when the parent dies: the pipe closes then."""

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            connection.recv()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
