"""Worker process: logs to a file, sends progress and result over a pipe, exits when its parent dies."""

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

_GRACE_PERIOD = 60.0  # seconds to save a checkpoint after SIGTERM


@dataclass(frozen=True)
class Task:
    """A function call for a process of its own.

    Attributes:
        name: name of the process, for people.
        function: must pickle.
        arguments: must pickle.
        log: file that receives the standard output and error of the process.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    log: Path


def work(connection: Connection, task: Task, slot: Mapping[str, str], folder: str) -> None:
    """Run a task and send its progress and its result.

    Args:
        connection: receives ("progress", Progress) any number of times, then ("result", returned value) or
            ("failure", Failure).
        task: what to run.
        slot: environment variables to set.
        folder: working directory.
    """
    os.chdir(folder)  # the server may have been started elsewhere
    os.environ.update(slot)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    _stop_when_closed(connection)
    progress.set_listener(lambda update: _send(connection, "progress", update))
    try:
        _redirect_output(task.log)
        result = task.function(*task.arguments)
    except Exception as error:
        _send(connection, "failure", failure_from(error, task.log))
        with contextlib.suppress(OSError):  # the disk may be full
            traceback.print_exc()
    else:
        connection.send(("result", result))
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()


def _redirect_output(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()


def _send(connection: Connection, kind: str, payload: Any) -> None:
    # A broken pipe means that the parent is gone; the thread of _stop_when_closed then ends this process.
    with contextlib.suppress(OSError):
        connection.send((kind, payload))


def _stop_when_closed(connection: Connection) -> None:
    """When the parent dies, which closes the pipe, stop this process as Ctrl-C would."""

    def wait_for_end() -> None:
        with contextlib.suppress(EOFError, OSError):
            connection.recv()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_PERIOD)
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()
