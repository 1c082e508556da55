"""Run tasks in worker processes: one process per task, forked from a server that has imported the modules already.

A task that segfaults, is killed, calls sys.exit or hangs has a result like any other, and the other tasks go on.
Knows neither Hydra nor torch.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from ablation.processes.progress import Progress
from ablation.processes.server import CONTEXT, start_server
from ablation.processes.signals import handle_signals
from ablation.processes.worker import Task, work
from ablation.records.failure import REPEAT, RESUME, Failure

logger = logging.getLogger(__name__)

# Kinds that are neither retried nor counted by a limit: a training that diverged would do so again.
_NO_FAILURES = ("interrupted", "busy", "diverged")


@dataclass(frozen=True)
class TaskResult:
    """Result of a task, or the reason why there is none.

    Attributes:
        task: the task.
        result: what its function returned; None if it failed.
        failure: why it failed; None if it succeeded.
        seconds: wall-clock time of the last attempt.
    """

    task: Task
    result: Any = None
    failure: Failure | None = None
    seconds: float = 0.0


class CallFailed(RuntimeError):
    """A call in a worker process has no result; `failure` is the reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True)
class Limits:
    """When to give up.

    Attributes:
        timeout: seconds per attempt; None for no limit.
        retries: further attempts per task.
        max_failures: failed tasks after which no more are started; None for no limit.
        is_joint: True if the first failure ends all tasks, because none is of use without the others.
    """

    timeout: float | None = None
    retries: int = 0
    max_failures: int | None = None
    is_joint: bool = False


class PoolCallback:
    """Receives the events of a pool; override what is of interest."""

    def on_start(self, name: str) -> None:
        """Called when a process was started for a task."""

    def on_progress(self, name: str, progress: Progress) -> None:
        """Called when a task reported its progress."""

    def on_end(self, result: TaskResult) -> None:
        """Called when a task has its final result."""

    def on_stop(self, is_killing: bool) -> None:
        """Called when the user stops the tasks (is_killing: False) or kills them (True)."""

    def on_tick(self) -> None:
        """Called about twice a second."""


@dataclass
class _Worker:
    task: Task
    process: ForkServerProcess
    connection: Connection
    slot: Mapping[str, str]
    attempt: int
    started: float = field(default_factory=time.monotonic)
    outcome: tuple[str, Any] | None = None  # ("result", value) or ("failure", Failure), as the process sent it
    killed_for: str = ""  # the kind of failure, if this pool killed it: timeout or joint

    def kill(self, reason: str) -> None:
        if not self.killed_for:
            self.killed_for = reason
            self.process.kill()


def call(function: Callable[..., Any], *arguments: Any, log: Path) -> Any:
    """Call a function in a worker process and return its result.

    Raises:
        CallFailed: the call raised an exception, or the process died.
        KeyboardInterrupt: the user stopped it.
    """
    (task_result,) = launch([Task(function.__name__, function, arguments, log)], [{}], Limits())
    failure = task_result.failure
    if failure is not None:
        raise KeyboardInterrupt if failure.kind == "interrupted" else CallFailed(failure)
    return task_result.result


def launch(
    tasks: Sequence[Task], slots: Sequence[Mapping[str, str]], limits: Limits, callback: PoolCallback | None = None
) -> list[TaskResult]:
    """Run all tasks, at most one per slot at a time.

    The first SIGINT or SIGTERM lets the running tasks save their state and stop, and no more are started; the second
    one kills them.

    Args:
        tasks: what to run.
        slots: environment variables of each place (CUDA_VISIBLE_DEVICES names its GPU).
        limits: when to give up.
        callback: receives what happens.

    Returns:
        The results in the order of the tasks.

    Raises:
        KeyboardInterrupt: the user stopped the tasks when the last ones were about to end, so that no result says so;
            not for joint tasks, whose results are of use then.
        AblationError: no process can be started.
    """
    start_server()
    pool = _Pool(tasks, slots, limits, callback or PoolCallback())
    results = pool.run()
    if (
        pool.is_stopped
        and not limits.is_joint
        and not any(r.failure and r.failure.kind == "interrupted" for r in results)
    ):
        raise KeyboardInterrupt
    return results


class _Pool:
    def __init__(
        self, tasks: Sequence[Task], slots: Sequence[Mapping[str, str]], limits: Limits, callback: PoolCallback
    ) -> None:
        self._waiting = deque((index, task, 0) for index, task in enumerate(tasks))
        self._free_slots = deque(slots)
        self._limits = limits
        self._callback = callback
        self._running: dict[int, _Worker] = {}
        self._results: dict[int, TaskResult] = {}
        self._failures = 0
        self._signals = self._reported_signals = 0

    def run(self) -> list[TaskResult]:
        with handle_signals(self._on_signal, signal.SIGINT, signal.SIGTERM):
            while self._running or (self._waiting and not self._is_stopping()):
                while self._waiting and self._free_slots and not self._is_stopping():
                    self._start(*self._waiting.popleft())
                self._listen()
                self._enforce_timeouts()
                while self._reported_signals < min(self._signals, 2):
                    self._reported_signals += 1
                    self._callback.on_stop(is_killing=self._reported_signals == 2)
                self._callback.on_tick()
        kind, why = (
            ("interrupted", "the sweep was interrupted")
            if self._signals
            else ("limit", f"{self._failures} failures reached max_failures")
        )
        for index, task, _ in self._waiting:
            self._results[index] = TaskResult(task, failure=Failure(kind, f"Not started: {why}.", REPEAT))
        return [self._results[index] for index in sorted(self._results)]

    @property
    def is_stopped(self) -> bool:
        """True if the user stopped the tasks."""
        return self._signals > 0

    def _start(self, index: int, task: Task, attempt: int) -> None:
        slot = self._free_slots.popleft()
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=work, args=(theirs, task, dict(slot), str(Path.cwd())), name=task.name)
        process.start()
        theirs.close()
        self._running[index] = worker = _Worker(task, process, ours, slot, attempt)
        if self._signals:  # one came while the process was started
            self._pass_on(worker)
        self._callback.on_start(task.name)

    def _listen(self) -> None:
        handles: list[Any] = [h for w in self._running.values() for h in (w.connection, w.process.sentinel)]
        ready = wait(handles, timeout=0.5)
        for index, worker in list(self._running.items()):
            if worker.connection in ready:
                self._receive(worker)
            if worker.process.sentinel in ready:
                worker.process.join()
                self._receive(worker)  # its last words, which `ready` may have missed
                self._finish(index, worker)

    def _receive(self, worker: _Worker) -> None:
        with contextlib.suppress(EOFError, OSError):
            while worker.connection.poll():
                kind, payload = worker.connection.recv()
                if kind == "progress":
                    self._callback.on_progress(worker.task.name, payload)
                else:
                    worker.outcome = kind, payload

    def _finish(self, index: int, worker: _Worker) -> None:
        del self._running[index]
        self._free_slots.append(worker.slot)
        worker.connection.close()
        kind, payload = worker.outcome or ("failure", _describe_death(worker, self._limits, self._signals > 0))
        result, failure = (payload, None) if kind == "result" else (None, payload)
        is_failed = failure is not None and failure.kind not in _NO_FAILURES
        if failure and is_failed and worker.attempt < self._limits.retries and not self._is_stopping():
            logger.warning("%s failed (%s); trying again.", worker.task.name, failure.message)
            self._waiting.append((index, worker.task, worker.attempt + 1))
            return
        self._failures += is_failed
        if failure and self._limits.is_joint:
            for other in self._running.values():
                other.kill("joint")
        self._results[index] = TaskResult(worker.task, result, failure, time.monotonic() - worker.started)
        self._callback.on_end(self._results[index])

    def _enforce_timeouts(self) -> None:
        for worker in self._running.values():
            if self._limits.timeout is not None and time.monotonic() - worker.started > self._limits.timeout:
                worker.kill("timeout")

    def _is_stopping(self) -> bool:
        limit = self._limits.max_failures
        return self._signals > 0 or (limit is not None and self._failures >= limit)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1
        for worker in self._running.values():
            self._pass_on(worker)

    def _pass_on(self, worker: _Worker) -> None:
        # The first signal is a request (SIGTERM makes a training save its checkpoint), the second one is not.
        (worker.process.terminate if self._signals == 1 else worker.process.kill)()


def _describe_death(worker: _Worker, limits: Limits, is_stopping: bool) -> Failure:
    code, log = worker.process.exitcode, str(worker.task.log)
    if worker.killed_for == "timeout":
        return Failure("timeout", f"Not finished after {limits.timeout:g} s.", "Raise the timeout.", log)
    if worker.killed_for == "joint":
        return Failure("joint", "Ended because another process failed.", "See what failed first.", log)
    if is_stopping:
        return Failure("interrupted", "Interrupted.", RESUME, log)
    if code == -signal.SIGKILL:
        advice = "Lower schedule.batch_size or run fewer workers, and repeat the command."
        message = "Killed by SIGKILL, most likely by the system for lack of memory."
        return Failure("out-of-memory", message, advice, log)
    if code is not None and code < 0:
        return Failure("signal", f"Died of {signal.Signals(-code).name}.", "Look for the stack in the log.", log)
    return Failure(
        "exit", f"The process ended with exit status {code}.", "Something called sys.exit; see the log.", log
    )
