"""Feature noises, one module for each type; `build` makes one from the group `noise` of a configuration.

A new type is a new module here with one subclass of `Noise`, and a YAML file of the same name in conf/noise/.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ablation.noise.base import Noise, rms
from ablation.records.errors import ConfigError

__all__ = ["Noise", "available", "build", "load", "rms"]

# Values that mean "the default of the type". All types share these keys of the configuration.
_AXES: Mapping[str, object] = {"scale": "relative", "granularity": None, "shared": False}


@functools.cache
def available() -> tuple[str, ...]:
    """Return the names of the noise types in alphabetical order, without `none`."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if name != "base" and not name.startswith("_")))


@functools.cache
def load(type_: str) -> type[Noise]:
    """Return the class of a noise type.

    Raises:
        ConfigError: there is no such type; the message lists the available ones.
    """
    if type_ not in available():
        raise ConfigError(
            f"noise.type: {type_!r} is not a noise type. Available: {', '.join(available())}, none."
            f"{_suggest(type_, (*available(), 'none'))}"
        )
    module = importlib.import_module(f"{__name__}.{type_}")
    # A module may import other noise classes: only the one that it defines is its type.
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Noise) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise ConfigError(f"{module.__name__} must define exactly one subclass of Noise, found {names}.")
    return found[0]


def build(
    type_: str,
    *,
    sigma: float | None,
    scale: str = "relative",
    granularity: str | None = None,
    shared: bool = False,
    params: Mapping[str, Any] | None = None,
) -> Noise | None:
    """Build a noise, or return None if it is off (type none, or a strength of 0).

    Args:
        sigma: noise-to-signal ratio, >= 0; None where the type's own parameter gives the strength.
        scale: relative or absolute.
        granularity: element, channel, position, image; None for the type's own.
        shared: one draw for the whole batch.
        params: the type's own parameters, by name.

    Raises:
        ConfigError: a value is unknown, out of range, or not supported by this type.
    """
    if type_ == "none":
        return None
    noise_class = load(type_)
    params = dict(params or {})
    _check_names(noise_class, params)
    axes = {"scale": scale, "granularity": granularity, "shared": shared}
    noise = noise_class(sigma=sigma, **params, **_supported_axes(noise_class, axes))
    return None if noise.is_off else noise


def _check_names(noise_class: type[Noise], params: Mapping[str, object]) -> None:
    own = sorted({field.name for field in fields(noise_class)} - {"sigma", *_AXES})
    for name in params:
        if name not in own:
            allowed = f"It has: {', '.join(own)}." if own else "It has no parameters; use {}."
            raise ConfigError(
                f"noise.params.{name} is not a parameter of {noise_class.type_name()}. {allowed}{_suggest(name, own)}"
            )


def _supported_axes(noise_class: type[Noise], axes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes that differ from the default; raise ConfigError for those that the type does not support."""
    chosen = {name: value for name, value in axes.items() if value != _AXES[name]}
    for name, value in chosen.items():
        if name not in noise_class.__dataclass_fields__:
            reason = noise_class.refusals.get(name, "the type has no such choice")
            as_yaml: dict[object, object] = {None: "null", False: "false", True: "true"}
            raise ConfigError(
                f"noise.{name}={as_yaml.get(value, value)} makes no sense for {noise_class.type_name()}: {reason}. "
                f"Set noise.{name}={as_yaml.get(_AXES[name], _AXES[name])}."
            )
    return chosen


def _suggest(name: str, candidates: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(candidates), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
