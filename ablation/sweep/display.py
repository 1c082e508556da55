"""What a person sees while a sweep runs: a live table in a terminal, plain lines in a log file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ablation.processes.launch import PoolCallback, TaskResult
from ablation.processes.progress import Progress

_LINE_EVERY = 30.0  # seconds between two plain lines about one run
_STOPPING = {
    False: "Stopping: what runs saves its checkpoint and ends, nothing more starts. Ctrl-C once more kills it.",
    True: "Killed; the last checkpoints remain.",
}


@contextlib.contextmanager
def show_progress(total: int) -> Iterator[PoolCallback]:
    """A watcher for `total` tasks that fits where the output goes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, total)
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield _LiveTable(live, total)


class _Counter:
    """Done, failed, interrupted and the time that the rest will take."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed, self.interrupted = total, 0, 0, 0
        self.started = time.monotonic()
        self.running: dict[str, Progress | None] = {}

    def end(self, outcome: TaskResult) -> None:
        self.running.pop(outcome.task.name, None)
        if outcome.failure is None:
            self.done += 1
        elif outcome.failure.kind == "interrupted":
            self.interrupted += 1
        else:
            self.failed += 1

    def __str__(self) -> str:
        ended = self.done + self.failed
        spent, left = time.monotonic() - self.started, self.total - ended
        if self.interrupted:
            return f"{self.done} done, {self.failed} failed, {left} to be done when the command is repeated"
        counts = f"{self.done} done, {self.failed} failed, {left} left"
        return f"{counts}, about {clock(spent / ended * left)} to go" if ended and left else counts


class _Lines:
    def __init__(self, console: Console, total: int) -> None:
        self._console, self._counter = console, _Counter(total)
        self._last: dict[str, float] = {}

    def started(self, name: str) -> None:
        self._say(f"{name}: started")
        self._last[name] = time.monotonic()

    def progressed(self, name: str, update: Progress) -> None:
        if time.monotonic() - self._last[name] >= _LINE_EVERY:
            self._last[name] = time.monotonic()
            self._say(f"{name}: {_format_progress(update)}")

    def ended(self, outcome: TaskResult) -> None:
        self._counter.end(outcome)
        self._say(f"{_verdict(outcome)} ({self._counter})")

    def stopping(self, is_killing: bool) -> None:
        self._say(_STOPPING[is_killing])

    def ticked(self) -> None:
        """Nothing moves in a log file."""

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _LiveTable:
    def __init__(self, live: Live, total: int) -> None:
        self._live, self._counter = live, _Counter(total)

    def started(self, name: str) -> None:
        self._counter.running[name] = None

    def progressed(self, name: str, update: Progress) -> None:
        self._counter.running[name] = update

    def ended(self, outcome: TaskResult) -> None:
        self._counter.end(outcome)
        self._live.console.print(_verdict(outcome), markup=False, highlight=False)

    def stopping(self, is_killing: bool) -> None:
        self._live.console.print(_STOPPING[is_killing], highlight=False)

    def ticked(self) -> None:
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, caption=str(self._counter), caption_justify="left", min_width=60)
        for heading in ("run", "stage", "progress", "speed", "loss", "left"):
            table.add_column(heading, overflow="fold", justify="left" if heading in ("run", "stage") else "right")
        for name, update in self._counter.running.items():
            table.add_row(name, *(_cells(update) if update else ("starting", "", "", "", "")))
        return table


def clock(seconds: float) -> str:
    """Seconds as people write them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _cells(update: Progress) -> tuple[str, str, str, str, str]:
    return (
        update.stage,
        f"{update.done}/{update.total}",
        "" if update.rate is None else f"{update.rate:.2f}/s",
        "" if update.loss is None else f"{update.loss:.3f}",
        "" if update.seconds_left is None else clock(update.seconds_left),
    )


def _format_progress(update: Progress) -> str:
    stage, done, rate, loss, left = _cells(update)
    return (
        f"{stage} {done}"
        + (f", {rate}" if rate else "")
        + (f", loss {loss}" if loss else "")
        + (f", {left} left" if left else "")
    )


def _verdict(outcome: TaskResult) -> str:
    name, failure = outcome.task.name, outcome.failure
    if failure is None:
        return f"{name}: done in {clock(outcome.seconds)}"
    log = f"Log: {failure.log}" if failure.log else ""
    message = f"{failure.message.rstrip('.')}."  # an exception's has no full stop
    told = (f"{name}: {failure.kind} after {clock(outcome.seconds)}: {message}", failure.advice, log)
    return " ".join(part for part in told if part)
