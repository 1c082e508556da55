"""Errors that a user can act on. Each message states the value and its place, what is allowed, and what to do."""


class AblationError(Exception):
    """Base class of all errors that reach the user without a traceback."""


class ConfigError(AblationError):
    """A configuration value is unknown, of the wrong type, out of range or contradicts another one."""


class DataError(AblationError):
    """A data set is missing, is not COCO, or contradicts itself."""


class RecordError(AblationError):
    """A record on disk is damaged or of a schema that this version does not read."""


class RunError(AblationError):
    """A training or an evaluation ended without a result; `kind` names the reason in records and tables."""

    kind = "exception"


class Interrupted(RunError):
    """The process received a signal to stop; its checkpoint is saved."""

    kind = "interrupted"


class Diverged(RunError):
    """A loss became infinite or NaN."""

    kind = "diverged"


class NoiseNotApplied(RunError):
    """Noise was configured and never applied."""

    kind = "no-noise"


class Busy(RunError):
    """Another process works on the same run or training; nothing was done here."""

    kind = "busy"


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if the host or a device ran out of memory, which torch reports in several ways."""
    message = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "cannot allocate memory", "failed to map segment")
    return isinstance(error, MemoryError) or any(sign in message for sign in signs)


def is_out_of_space(error: BaseException) -> bool:
    """Return True if a disk or quota is full; torch.save only says that a write failed."""
    message = str(error).lower()
    return any(sign in message for sign in ("no space left", "quota exceeded", "pytorchstreamwriter failed writing"))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without a full stop at its end; the name of its type if it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
