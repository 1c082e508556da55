"""Messages for errors of Hydra and OmegaConf: the value and its place, what is allowed, what to do.

Errors of validation have a module of their own, `validation_errors`: it needs pydantic, which `--help` does not load.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ablation.config.keys import did_you_mean, flatten
from ablation.records.errors import AblationError

_LINES = 3  # of a message by Hydra; further lines repeat it in other words


def explain_error(error: BaseException) -> str:
    """Return a message for the user about an error in the configuration.

    The causes of the error are searched first, since they are more specific than Hydra's own message.
    """
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case AblationError():
                return str(cause)
            case OverrideParseException():
                return _bad_syntax(cause)
            case MissingConfigException() if cause.options is not None and cause.missing_cfg_file:
                return _unknown_option(cause.missing_cfg_file, list(cause.options))
            case ConfigKeyError() | ConfigAttributeError() if isinstance(cause.parent_node, DictConfig):
                return _unknown_key(str(cause.full_key), cause.parent_node)
            case OmegaConfBaseException() if cause.full_key:
                return f"{cause.full_key}: {str(cause.msg or cause).splitlines()[0]}."
        cause = cause.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:_LINES]) or type(error).__name__


def _bad_syntax(error: OverrideParseException) -> str:
    frame = ("Error parsing", "See http")
    reasons = [line for line in error.message.splitlines() if line and not line.startswith(frame)]
    return (
        f"{error.override!r} cannot be read: {'; '.join(reasons) or 'bad syntax'}. Write key=value, or key=a,b,c to "
        "sweep; quote the whole word for the shell when it holds brackets or spaces: 'noise.levels=[p2,p3]'."
    )


def _unknown_option(path: str, options: list[str]) -> str:
    group, _, option = path.rpartition("/")
    near = get_close_matches(option, options, n=1)
    hint = f" Did you mean {group}={near[0]}?" if near else ""
    return f"{group}={option} is not an option. Available: {', '.join(options)}.{hint}"


def _unknown_key(key: str, parent: DictConfig) -> str:
    above, _, name = key.rpartition(".")
    names = [k for k in parent if isinstance(k, str) and not k.startswith(("_", "hydra"))]
    beside = [f"{above}.{k}" if above else k for k in names]
    if above == "model.overrides" or above.startswith("model.overrides."):
        return f"{key} is not set yet. To add a key of the detectron2 config write +{key}=..."
    if above == "noise.params":
        own = f"It has: {', '.join(beside)}." if beside else "It has none."
        return f"{key} is not a parameter of this noise type. {own} Choose the type with noise=..."
    root: Any = OmegaConf.to_container(parent._get_root(), resolve=False)
    elsewhere = [k for k in flatten(root) if k.rpartition(".")[2] == name and not k.startswith("hydra.")]
    return f"{key} is not a key. {f'Did you mean {elsewhere[0]}?' if elsewhere else did_you_mean(key, beside)}"


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Exit with one message and status 1, without a traceback, on an error that the user can fix.

    With HYDRA_FULL_ERROR set, the traceback is printed. An interrupt exits with status 130.
    """
    wants_trace = "HYDRA_FULL_ERROR" in os.environ
    # By default Hydra prints errors and exits by itself; with this variable it raises them.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except (AblationError, HydraException, OmegaConfBaseException, ValueError) as error:
        if wants_trace or (isinstance(error, ValueError) and not _comes_from_hydra(error)):
            raise
        sys.exit(explain_error(error))


def _comes_from_hydra(error: ValueError) -> bool:
    # Hydra raises ValueError for some mistakes of a user; one of this package is a bug and keeps its traceback.
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(names[-1]).startswith(("hydra.", "omegaconf."))
