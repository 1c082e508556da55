"""The server that imports modules once and forks every worker process."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker

from ablation.processes.signals import block_signals
from ablation.records.errors import AblationError

CONTEXT = multiprocessing.get_context("forkserver")


def preload(modules: Sequence[str]) -> None:
    """Make the fork server import these modules when it starts; no effect if it already runs."""
    CONTEXT.set_forkserver_preload(list(modules))


def start_server() -> None:
    """Start the fork server unless it runs, and wait until it has imported its modules, which takes seconds.

    Ctrl-C reaches every process of a terminal. It ends this wait, but not the server: its workers would end with it.

    Raises:
        AblationError: no process can be started.
    """
    try:
        resource_tracker.ensure_running()  # where the server would start it, the signal would get through
        with block_signals(signal.SIGINT):
            forkserver.ensure_running()
        first = CONTEXT.Process(target=int)
        first.start()
        first.join()
    except OSError as error:
        raise AblationError(
            f"No process can be started: {error.strerror or error}. A long TMPDIR has no room for a socket's name "
            f"(temporary files are in {tempfile.gettempdir()}): set TMPDIR=/tmp."
        ) from error
    except EOFError as error:
        raise AblationError(
            "No process can be started: the server that forks them ended while it imported torch and detectron2, most "
            "likely for lack of memory. Free some, or raise its limit (ulimit -v), and repeat the command."
        ) from error
