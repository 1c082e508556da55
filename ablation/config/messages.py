"""Messages for errors of Hydra and OmegaConf: the value and its place, what is allowed, what to do.

Errors of validation have a module of their own, `validation_errors`: it needs pydantic, which `--help` does not load.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import takewhile
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ablation.config.keys import did_you_mean, flatten
from ablation.records.errors import AblationError, Interrupted

_LINES = 3  # of a message by Hydra; further lines repeat it in other words
# What follows such a line is about Hydra's insides.
_INSIDES = ("full_key:", "object_type=", "Config search path:")
# A value with other characters, or with =, must be in quotes for Hydra. Lists, mappings and calls have a syntax.
_UNQUOTED = re.compile(r"[\w/\-\\+.$%*@?|,: ]*", re.ASCII)
_HAS_SYNTAX = re.compile(r"[\[\](){}'\"]")


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
            case yaml.YAMLError():
                return _bad_yaml(cause)
            case OmegaConfBaseException() if cause.full_key:
                return f"{cause.full_key}: {str(cause.msg or cause).splitlines()[0].rstrip('.')}."
        cause = cause.__cause__
    if isinstance(error, UnicodeDecodeError):
        return f"A configuration file is not UTF-8 text: {error}. Correct the file that the command names."
    if "group override must be" in str(error) and (override := _override_of(error)):
        if not (group := override.key_or_group):
            return f"{override.input_line!r} has no key. Write key=value."
        return (
            f"{override.input_line} names no option of the group {group}. --help lists its options: {group}=<option>."
        )
    if isinstance(error, RuntimeError | AssertionError):
        return f"Hydra cannot use this command: {error}. Check its keys of hydra."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = list(takewhile(lambda line: not line.startswith(_INSIDES), lines))
    return "\n".join(lines[:_LINES]) or type(error).__name__


def _override_of(error: BaseException) -> Override | None:
    # Hydra's message does not say which one it is about.
    frames = [frame.f_locals.get("override") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((found for found in frames if isinstance(found, Override)), None)


def _bad_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark else "A configuration file"
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{where}: not YAML that can be read: {problem}. Correct the file."


def _bad_syntax(error: OverrideParseException) -> str:
    frame = ("Error parsing", "See http")
    reasons = [line for line in error.message.splitlines() if line and not line.startswith(frame)]
    key, _, value = error.override.partition("=")
    if not _UNQUOTED.fullmatch(value) and not _HAS_SYNTAX.search(value):
        odd = sorted(set(_UNQUOTED.sub("", value)))
        return (
            f"{error.override!r} cannot be read: {' '.join(odd)} in a value must be in quotes. Write them for the "
            f"shell and for Hydra: \"{key}='{value}'\"."
        )
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
    if above == "dataset" and name in _keys_of_dataset(parent):
        return f"{key} is not set by this option of the group dataset. To add it write +{key}=..."
    root: Any = OmegaConf.to_container(parent._get_root(), resolve=False)
    elsewhere = [k for k in flatten(root) if k.rpartition(".")[2] == name and not k.startswith("hydra.")]
    return f"{key} is not a key. {f'Did you mean {elsewhere[0]}?' if elsewhere else did_you_mean(key, beside)}"


def _keys_of_dataset(group: DictConfig) -> Collection[str]:
    from ablation.config.dataset import DATASETS

    schema = DATASETS.get(str(group.get("type")))
    return schema.model_fields if schema else ()


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Exit with one message and status 1, without a traceback, on an error that the user can fix.

    With HYDRA_FULL_ERROR set, the traceback is printed. What the user stopped exits with status 130.
    """
    wants_trace = "HYDRA_FULL_ERROR" in os.environ
    # By default Hydra prints errors and exits by itself; with this variable it raises them.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except Interrupted as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(130)
    except (AblationError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        if wants_trace:
            raise
        sys.exit(explain_error(error))
    except (ValueError, RuntimeError, AssertionError) as error:
        if wants_trace or not _comes_from_hydra(error):
            raise
        sys.exit(explain_error(error))


def _comes_from_hydra(error: Exception) -> bool:
    # Hydra raises these for some mistakes of a user; one of this package is a bug and keeps its traceback.
    names = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = [name for name in names if name.startswith(("hydra.", "omegaconf.", "ablation.", "hydra_plugins."))]
    return bool(known) and known[-1].startswith(("hydra.", "omegaconf."))
