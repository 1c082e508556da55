"""Why there is no result, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablation.records.errors import RunError, is_out_of_memory, is_out_of_space

REPEAT = "Repeat the command; finished runs are skipped."
UNFINISHED = ("interrupted", "limit")  # kinds that say nothing against a run
RESUME = "Repeat the command; it resumes from the last checkpoint."


@dataclass(frozen=True)
class Failure:
    """Why a training or a run has no result.

    Attributes:
        kind: exception, out-of-memory, out-of-space, signal, exit, timeout, diverged, no-noise, joint, busy,
            interrupted (by the user) or limit (not started after too many failures).
        message: what happened, in one or two sentences.
        advice: what to do.
        log: path of the file with the traceback.
    """

    kind: str
    message: str
    advice: str = ""
    log: str = ""


_ADVICE = {
    "out-of-memory": "Lower schedule.batch_size or run fewer at a time, and repeat the command.",
    "out-of-space": "Free some disk space and repeat the command.",
    "diverged": "Lower schedule.lr or noise.sigma; repeating the command does not train it again.",
    "interrupted": RESUME,
    "exception": f"The log holds the traceback. {REPEAT}",
}


def failure_from(error: Exception, log: Path) -> Failure:
    """Return the failure that an exception stands for, with advice that fits its kind."""
    if isinstance(error, RunError):
        return Failure(error.kind, str(error), _ADVICE.get(error.kind, REPEAT), str(log))
    kind = "out-of-memory" if is_out_of_memory(error) else "out-of-space" if is_out_of_space(error) else "exception"
    return Failure(kind, f"{type(error).__name__}: {_summary(error, kind)}", _ADVICE[kind], str(log))


def _summary(error: Exception, kind: str) -> str:
    """Return the first line of an error's text; of an out-of-memory error only the sentence about memory."""
    text = str(error).strip().partition("\n")[0]
    sentences = text.split(". ")
    if kind == "out-of-memory":
        return next((f"{one}." for one in sentences if is_out_of_memory(Exception(one))), text)
    return text
