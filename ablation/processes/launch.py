"""Tasks to worker processes to outcomes: one process per task, forked from a server that has imported already.

A task that segfaults, is killed, calls sys.exit or hangs ends in an outcome like any other; the rest goes on.
Knows neither Hydra nor torch.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

from ablation.processes.progress import Progress
from ablation.processes.worker import Task, work
from ablation.records.errors import Interrupted
from ablation.records.failure import Failure

logger = logging.getLogger(__name__)

_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class TaskResult:
    """What became of a task: its result, or why there is none. seconds: wall clock of the last attempt."""

    task: Task
    result: Any = None
    failure: Failure | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """When to give up: seconds per task (None: never), retries per task, failures per sweep (None: any number).

    is_joint: no task is of use without the others, so the first failure ends them all.
    """

    timeout: float | None = None
    retries: int = 0
    max_failures: int | None = None
    is_joint: bool = False


class PoolCallback(Protocol):
    """Whoever shows what happens."""

    def started(self, name: str) -> None:
        """A task got a process."""

    def progressed(self, name: str, update: Progress) -> None:
        """A task told how far it is."""

    def ended(self, outcome: TaskResult) -> None:
        """A task has its outcome."""

    def stopping(self, is_killing: bool) -> None:
        """The user asked the tasks to end, or to be killed."""

    def ticked(self) -> None:
        """Some time has passed."""


@dataclass
class _Worker:
    task: Task
    process: ForkServerProcess
    connection: Connection
    slot: Mapping[str, str]
    attempt: int
    started: float = field(default_factory=time.monotonic)
    result: Any = None
    failure: Failure | None = None
    has_result: bool = False
    timed_out: bool = False
    is_given_up: bool = False


def preload(modules: Sequence[str]) -> None:
    """Let the fork server import these modules when it starts; without effect once it runs."""
    _CONTEXT.set_forkserver_preload(list(modules))


def call(function: Callable[..., Any], *arguments: Any, log: Path) -> Any:
    """The result of one call made in a worker process.

    Raises:
        RuntimeError: the call raised something, or the process died.
        Interrupted: the user stopped it.
    """
    outcome = launch([Task(function.__name__, function, arguments, log)], [{}], Limits())[0]
    if outcome.failure is not None:
        message = outcome.failure.message
        raise Interrupted(message) if outcome.failure.kind == "interrupted" else RuntimeError(message)
    return outcome.result


def launch(
    tasks: Sequence[Task],
    slots: Sequence[Mapping[str, str]],
    limits: Limits,
    watcher: PoolCallback | None = None,
) -> list[TaskResult]:
    """Run all tasks, at most one per slot at a time, and return their outcomes in the order of the tasks.

    slots: one mapping of environment variables per place (CUDA_VISIBLE_DEVICES names its GPU).
    The first SIGINT or SIGTERM asks the running tasks to save and stop and starts no more; the second kills.
    """
    return _Pool(tasks, slots, limits, watcher).run()


class _Pool:
    def __init__(
        self,
        tasks: Sequence[Task],
        slots: Sequence[Mapping[str, str]],
        limits: Limits,
        watcher: PoolCallback | None,
    ) -> None:
        self._waiting = deque((index, task, 0) for index, task in enumerate(tasks))
        self._free = deque(slots)
        self._limits = limits
        self._watcher = watcher
        self._running: dict[int, _Worker] = {}
        self._outcomes: dict[int, TaskResult] = {}
        self._failures = 0
        self._signals = self._told = 0

    def run(self) -> list[TaskResult]:
        with self._signals_handled():
            while self._running or (self._waiting and not self._is_stopping()):
                while self._waiting and self._free and not self._is_stopping():
                    self._start(*self._waiting.popleft())
                self._listen()
                self._enforce_timeouts()
                self._tell_signals()
                if self._watcher:
                    self._watcher.ticked()
        for index, task, _ in self._waiting:
            self._outcomes[index] = TaskResult(task, failure=self._not_started())
        return [self._outcomes[index] for index in sorted(self._outcomes)]

    def _start(self, index: int, task: Task, attempt: int) -> None:
        slot = self._free.popleft()
        here, there = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=work, args=(there, task, dict(slot), str(Path.cwd())), name=task.name)
        process.start()
        there.close()
        self._running[index] = _Worker(task, process, here, slot, attempt)
        if self._watcher:
            self._watcher.started(task.name)

    def _listen(self) -> None:
        handles: list[Any] = [w.connection for w in self._running.values()]
        handles += [w.process.sentinel for w in self._running.values()]
        ready = wait(handles, timeout=0.5)
        for index, worker in list(self._running.items()):
            if worker.connection in ready or worker.process.sentinel in ready:
                self._drain(worker)
            if worker.process.sentinel in ready:
                worker.process.join()
                self._drain(worker)
                self._finish(index, worker)

    def _drain(self, worker: _Worker) -> None:
        with contextlib.suppress(EOFError, OSError):
            while worker.connection.poll():
                kind, payload = worker.connection.recv()
                if kind == "progress":
                    if self._watcher:
                        self._watcher.progressed(worker.task.name, payload)
                elif kind == "result":
                    worker.result, worker.has_result = payload, True
                else:
                    worker.failure = payload

    def _finish(self, index: int, worker: _Worker) -> None:
        del self._running[index]
        self._free.append(worker.slot)
        worker.connection.close()
        failure = None if worker.has_result else worker.failure or _death(worker, self._limits, self._signals > 0)
        is_failed = failure is not None and failure.kind not in ("interrupted", "busy")
        if failure and is_failed and worker.attempt < self._limits.retries and not self._is_stopping():
            logger.warning("%s failed (%s); trying again.", worker.task.name, failure.message)
            self._waiting.append((index, worker.task, worker.attempt + 1))
            return
        self._failures += is_failed
        if failure and self._limits.is_joint:
            for other in self._running.values():
                other.is_given_up = True
                other.process.kill()
        outcome = TaskResult(worker.task, worker.result, failure, time.monotonic() - worker.started)
        self._outcomes[index] = outcome
        if self._watcher:
            self._watcher.ended(outcome)

    def _enforce_timeouts(self) -> None:
        for worker in self._running.values():
            late = self._limits.timeout is not None and time.monotonic() - worker.started > self._limits.timeout
            if late and not worker.timed_out:
                worker.timed_out = True
                worker.process.kill()

    def _tell_signals(self) -> None:
        if self._watcher and self._told < (told := min(self._signals, 2)):
            self._told = told
            self._watcher.stopping(is_killing=told > 1)

    def _is_stopping(self) -> bool:
        limit = self._limits.max_failures
        return self._signals > 0 or (limit is not None and self._failures >= limit)

    def _not_started(self) -> Failure:
        why = "the sweep was interrupted" if self._signals else f"{self._failures} failures reached max_failures"
        return Failure("interrupted", f"Not started: {why}.", "Repeat the same command; finished runs are skipped.")

    @contextlib.contextmanager
    def _signals_handled(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1
        for worker in self._running.values():
            # The first asks (SIGTERM makes a training save its checkpoint), the second does not.
            (worker.process.terminate if self._signals == 1 else worker.process.kill)()


def _death(worker: _Worker, limits: Limits, is_stopping: bool) -> Failure:
    code, log = worker.process.exitcode, str(worker.task.log)
    if worker.timed_out:
        return Failure("timeout", f"Stopped after {limits.timeout:g} s without an end.", "Raise the timeout.", log)
    if worker.is_given_up:
        return Failure("joint", "Ended because another one had failed.", "See what failed first.", log)
    if is_stopping:
        return Failure("interrupted", "Interrupted.", "Repeat the same command; it goes on from there.", log)
    if code == -signal.SIGKILL:
        advice = "Lower schedule.batch_size or run fewer workers, and repeat the same command."
        return Failure("out-of-memory", "Killed by SIGKILL, most likely by the system for lack of memory.", advice, log)
    if code is not None and code < 0:
        return Failure("signal", f"Died of {signal.Signals(-code).name}.", "Look for the stack in the log.", log)
    return Failure("exit", f"Ended by itself with exit status {code}.", "Something called sys.exit; see the log.", log)
