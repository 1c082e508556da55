"""Progress of a sweep: a live table in a terminal, plain lines in a log file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ablation.processes.launch import PoolCallback, TaskResult
from ablation.processes.progress import Progress
from ablation.records.failure import UNFINISHED

_LINE_PERIOD = 30.0  # seconds between two plain lines about one run
_STOPPING = "Stopping: current runs save a checkpoint and end; no more are started. Press Ctrl-C again to kill them."
_KILLED = "Killed; the last checkpoints remain."


@contextlib.contextmanager
def show_progress(total: int) -> Iterator[PoolCallback]:
    """Yield a callback that shows the progress of `total` tasks on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, total)
    else:
        with Live(console=console, refresh_per_second=4) as live:
            yield _LiveTable(live, total)


class _Display(PoolCallback):
    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        self._done = self._diverged = self._failed = self._interrupted = 0
        self._start = time.monotonic()

    def on_end(self, result: TaskResult) -> None:
        kind = result.failure.kind if result.failure else None
        self._done += kind is None
        self._interrupted += kind in UNFINISHED
        self._diverged += kind == "diverged"
        self._failed += kind not in (None, "diverged", *UNFINISHED)

    def on_stop(self, is_killing: bool) -> None:
        self._print(_KILLED if is_killing else _STOPPING)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=not self._console.is_terminal)

    def _summary(self) -> str:
        ended = self._done + self._diverged + self._failed
        seconds, left = time.monotonic() - self._start, self._total - ended
        diverged = f"{self._diverged} diverged, " if self._diverged else ""
        counts = f"{self._done} done, {diverged}{self._failed} failed, {left} left"
        if self._interrupted:
            return f"{counts} for when the command is repeated"
        return f"{counts}, about {format_duration(seconds / ended * left)} to go" if ended and left else counts


class _Lines(_Display):
    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, total)
        self._last_line: dict[str, float] = {}

    def on_start(self, name: str) -> None:
        self._print(f"{name}: started")
        self._last_line[name] = time.monotonic()

    def on_progress(self, name: str, progress: Progress) -> None:
        if time.monotonic() - self._last_line[name] >= _LINE_PERIOD:
            self._last_line[name] = time.monotonic()
            self._print(f"{name}: {_format_progress(progress)}")

    def on_end(self, result: TaskResult) -> None:
        super().on_end(result)
        self._print(f"{_format_result(result)} ({self._summary()})")


class _LiveTable(_Display):
    def __init__(self, live: Live, total: int) -> None:
        super().__init__(live.console, total)
        self._live = live
        self._running: dict[str, Progress | None] = {}

    def on_start(self, name: str) -> None:
        self._running[name] = None

    def on_progress(self, name: str, progress: Progress) -> None:
        self._running[name] = progress

    def on_end(self, result: TaskResult) -> None:
        super().on_end(result)
        self._running.pop(result.task.name, None)
        self._print(_format_result(result))

    def on_tick(self) -> None:
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, caption=self._summary(), caption_justify="left", min_width=60)
        for heading in ("run", "stage", "progress", "speed", "loss", "left"):
            table.add_column(heading, overflow="fold", justify="left" if heading in ("run", "stage") else "right")
        for name, progress in self._running.items():
            table.add_row(name, *(_format_columns(progress) if progress else ("starting", "", "", "", "")))
        return table


def format_duration(seconds: float) -> str:
    """Format a duration as people write it: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _format_columns(progress: Progress) -> tuple[str, str, str, str, str]:
    return (
        progress.stage,
        f"{progress.done}/{progress.total}",
        "" if progress.rate is None else f"{progress.rate:.2f}/s",
        "" if progress.loss is None else f"{progress.loss:.3f}",
        "" if progress.seconds_left is None else format_duration(progress.seconds_left),
    )


def _format_progress(progress: Progress) -> str:
    stage, done, rate, loss, left = _format_columns(progress)
    parts = (f"{stage} {done}", rate, loss and f"loss {loss}", left and f"{left} left")
    return ", ".join(filter(None, parts))


def _format_result(result: TaskResult) -> str:
    name, failure = result.task.name, result.failure
    if failure is None:
        return f"{name}: done in {format_duration(result.seconds)}"
    message = f"{failure.message.rstrip('.')}."  # an exception's message has no full stop
    log = f"Log: {failure.log}" if failure.log else ""
    parts = (f"{name}: {failure.kind} after {format_duration(result.seconds)}: {message}", failure.advice, log)
    return " ".join(filter(None, parts))
