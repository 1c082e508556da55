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
    """A training or an evaluation went wrong in a way that has a name (diverged, noise never applied)."""
