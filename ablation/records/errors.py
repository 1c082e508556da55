"""Errors that a user can act on. Each message says what was given and where, what is allowed, what to do."""


class AblationError(Exception):
    """Anything this package refuses or reports; shown to the user without a traceback."""


class ConfigError(AblationError):
    """A configuration value is unknown, of the wrong type, out of range or contradicts another one."""


class DataError(AblationError):
    """A data set is missing, is not COCO, or contradicts itself."""


class RecordError(AblationError):
    """A record on disk is torn, corrupt or of a schema that this version does not read."""


class RunError(AblationError):
    """A training or an evaluation ended without a result; `kind` is the word for it in records and tables."""

    kind = "exception"


class Interrupted(RunError):
    """The process was asked to stop; its checkpoint is saved."""

    kind = "interrupted"


class Diverged(RunError):
    """A loss became infinite or NaN."""

    kind = "diverged"


class NoiseNotApplied(RunError):
    """A noise was asked for and never acted."""

    kind = "no-noise"


class Busy(RunError):
    """Another process is at work on the same thing; nothing was done here."""

    kind = "busy"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error tells of lack of memory, of the host's or of a device's; torch has several words for it."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words


def is_out_of_space(error: BaseException) -> bool:
    """Whether an error tells of a full disk or quota; torch.save says only that a write failed."""
    words = str(error).lower()
    return any(sign in words for sign in ("no space left", "quota exceeded", "pytorchstreamwriter failed writing"))
