"""Why there is no result, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablation.records.errors import RunError, is_out_of_memory, is_out_of_space


@dataclass(frozen=True)
class Failure:
    """Why a training or a run has no result.

    kind: exception, out-of-memory, out-of-space, signal, exit, timeout, diverged, no-noise or interrupted.
    message: what happened, in one or two sentences; advice: what to do; log: where the traceback is.
    """

    kind: str
    message: str
    advice: str = ""
    log: str = ""


_ADVICE = {
    "out-of-memory": "Lower schedule.batch_size or run fewer at a time, and repeat the same command.",
    "out-of-space": "Free some disk space and repeat the same command.",
    "diverged": "Lower schedule.lr or noise.sigma.",
    "interrupted": "Repeat the same command; it goes on from there.",
    "exception": "The log holds the traceback. Repeat the same command; finished runs are skipped.",
}


def failure_from(error: Exception, log: Path) -> Failure:
    """What went wrong, by kind, with the advice that fits."""
    if isinstance(error, RunError):
        advice = _ADVICE.get(error.kind, "Repeat the same command; finished runs are skipped.")
        return Failure(error.kind, str(error), advice, str(log))
    kind = "exception"
    if is_out_of_memory(error):
        kind = "out-of-memory"
    elif is_out_of_space(error):
        kind = "out-of-space"
    return Failure(kind, f"{type(error).__name__}: {error}", _ADVICE[kind], str(log))
