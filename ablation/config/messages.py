"""Hydra's and OmegaConf's errors in three parts: what was given and where, what is allowed, what to do."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ablation.config.keys import did_you_mean, flatten
from ablation.records.errors import AblationError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_LINES = 3  # of a message that is not ours; the rest repeats it in other words


def explain_error(error: BaseException) -> str:
    """What a user is told about an error of the configuration; the causes know more than Hydra's own words."""
    chain = list(_chain(error))
    for cause in chain:
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
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:_LINES]) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


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
    elsewhere = [k for k in _all_keys(parent) if k.rpartition(".")[2] == name]
    return f"{key} is not a key. {f'Did you mean {elsewhere[0]}?' if elsewhere else did_you_mean(key, beside)}"


def _all_keys(node: DictConfig) -> list[str]:
    root: Any = OmegaConf.to_container(node._get_root(), resolve=False)
    return list(flatten({k: v for k, v in root.items() if k != "hydra"}))


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Hydra is ready inside; what a user can mend ends in one message and exit status 1, without a traceback."""
    wants_trace = "HYDRA_FULL_ERROR" in os.environ
    # Hydra would print and exit by itself; this makes it hand the error over.
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
    """Whether Hydra itself raised it, as it does for some of what a user types; one of ours is a bug and stays loud."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(names[-1]).startswith(("hydra.", "omegaconf."))
