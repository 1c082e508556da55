"""Base class of the noise types: an immutable dataclass of parameters that maps features of one level to noisy ones.

torch is imported inside functions only, because a sweep is planned and checked without it.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ablation.records.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_Self = TypeVar("_Self", bound="Noise")

# A masked copy of this many elements (4 MiB in float32) stays in the cache and is reused by the allocator;
# one copy of a whole p2 map costs more than the reduction itself.
_ELEMENTS_PER_PART = 1 << 20

# What the fields that several types share may be, and how a message says so.
_CHOICES: Mapping[str, tuple[tuple[object, ...], str]] = {
    "scale": (("relative", "absolute"), "relative or absolute"),
    "granularity": (
        ("element", "channel", "position", "image"),
        "one of element, channel, position, image, or null for the type's own",
    ),
    "shared": ((False, True), "true or false"),
}
MULTIPLIES = "it multiplies the features, so its strength is relative to them already"
"""The reason to refuse `scale` of a noise that is a factor."""


@dataclass(frozen=True, kw_only=True)
class Noise(ABC):
    """A feature noise with its parameters. Calling it draws the noise and returns noisy features.

    Subclasses set the class attributes, add their parameters as fields and implement `perturb`.

    Attributes:
        sigma: noise-to-signal ratio rms(noise) / rms(features), >= 0; 0 means off. SNR = -20 log10(sigma) dB.
            Resolved on construction for the types that also take a parameter of their own (`native`); stays None
            where it is only measured (`realised_only`).

    Raises:
        ConfigError: a value is of the wrong type or out of range; it names the key as it is typed.
    """

    sigma: float | None = None

    formula: ClassVar[str]
    """One line of plain text: the noisy features as a function of x, the features of one level."""
    source: ClassVar[str]
    """The paper, with its arXiv number where it has one."""
    native: ClassVar[str | None] = None
    """The field that may be given instead of sigma, >= 0, in the paper's own unit."""
    native_below: ClassVar[float | None] = None
    """The bound that the native field must stay below, if there is one."""
    realised_only: ClassVar[bool] = False
    """True where the strength follows from the features: sigma is measured, and may only be null or 0."""
    needs_batch: ClassVar[bool] = False
    """True where the noise is made of differences between images, so one image alone cannot have it."""
    deterministic: ClassVar[bool] = False
    """True where nothing is drawn: the noise is a function of the features."""
    refusals: ClassVar[Mapping[str, str]] = {}
    """Why `scale`, `granularity` or `shared` cannot be chosen for this type."""

    def __post_init__(self) -> None:
        for name, (choices, allowed) in _CHOICES.items():
            value = getattr(self, name, choices[0])
            # The type is compared too, because 1 equals True.
            if type(value) is not type(choices[0]) or value not in choices:
                raise ConfigError(f"noise.{name} must be {allowed}, got {value!r}.")
        # The dataclass is frozen for its users; resolving sigma and types is part of constructing it.
        object.__setattr__(self, "sigma", self._resolve_sigma())
        for field in fields(self):
            object.__setattr__(self, field.name, _as_declared(str(field.type), getattr(self, field.name)))

    @classmethod
    def type_name(cls) -> str:
        """Return the name for `noise.type`, which is the name of the module."""
        return cls.__module__.rpartition(".")[2]

    @property
    def is_off(self) -> bool:
        """True if the noise changes no feature."""
        return self.sigma == 0

    @property
    def strength(self) -> float:
        """Sigma, for types whose strength can be set.

        Raises:
            TypeError: the strength of this type is measured.
        """
        if self.sigma is None:
            raise TypeError(f"{self.type_name()} has no set strength: its sigma is measured.")
        return self.sigma

    def scaled(self: _Self, factor: float) -> _Self:
        """Return the same noise at a fraction of its strength, for a schedule over the training.

        The parameter that was given is scaled: sigma, or the `native` one, in which a paper states its warm-up.

        Args:
            factor: >= 0; 1 leaves it as it is, 0 turns it off.

        Raises:
            ConfigError: the strength of this type cannot be set.
        """
        if self.realised_only:
            raise ConfigError(
                f"noise.schedule.shape must be constant for {self.type_name()}: its strength follows from "
                "the features. Use noise.schedule.start and noise.schedule.stop, or noise.probability."
            )
        if self.native is None or getattr(self, self.native) is None:
            return replace(self, sigma=factor * self.strength)
        changes: dict[str, Any] = {"sigma": None, self.native: factor * getattr(self, self.native)}
        return replace(self, **changes)

    def __call__(self, x: Tensor, generator: torch.Generator, valid: Tensor | None = None) -> Tensor:
        """Return noisy features, or x itself (the same object) if the noise is off.

        Args:
            x: N×C×H×W floating point, the features of one level; never changed. Gradients flow through it.
            generator: the only source of randomness, on the device of x.
            valid: N×1×H×W bool, False on padding, which counts in no statistic; None means all valid.

        Returns:
            N×C×H×W of the dtype, device and memory format of x.

        Raises:
            ConfigError: the type needs several images and the batch has one.
        """
        if self.is_off:
            return x
        if self.needs_batch and x.shape[0] < 2:
            raise ConfigError(
                f"noise.type={self.type_name()} is made of differences between the images of a batch and is "
                "undefined for a batch of 1. Raise schedule.batch_size to 2 or more, or choose another type."
            )
        return self.perturb(x, generator, valid)

    @abstractmethod
    def perturb(self, x: Tensor, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return noisy features of a noise that is on; arguments and result as in `__call__`."""

    def sigma_of_native(self, value: float) -> float:
        """Convert a value of the `native` parameter to sigma."""
        raise NotImplementedError(f"{type(self).__name__} names a native parameter but does not convert it.")

    def _resolve_sigma(self) -> float | None:
        if self.native is not None and getattr(self, self.native) is not None:
            key = f"noise.params.{self.native}"
            value = check_number(key, getattr(self, self.native), at_least=0, below=self.native_below)
            if self.sigma is not None:
                raise ConfigError(
                    f"noise.sigma={self.sigma} and {key}={getattr(self, self.native)} are both given; keep one."
                )
            return self.sigma_of_native(value)
        if self.sigma is None:
            if self.realised_only:
                return None
            choice = "noise.sigma" if self.native is None else f"noise.sigma or noise.params.{self.native}"
            raise ConfigError(f"{self.type_name()} needs a strength, got none. Give {choice}.")
        sigma = check_number("noise.sigma", self.sigma, at_least=0)
        if self.realised_only and sigma != 0:
            raise ConfigError(
                f"noise.sigma must be null or 0 (off) for {self.type_name()}, got {self.sigma}: its strength "
                "follows from the features and is measured. Leave noise.sigma out."
            )
        return sigma


def _as_declared(declared: str, value: object) -> object:
    """Return 1.0 for 1 where a number is declared, and 7 for 7.0 where a whole one is: equal noises have equal ids."""
    if isinstance(value, int) and not isinstance(value, bool) and "float" in declared:
        return float(value)
    if isinstance(value, float) and value.is_integer() and "int" in declared:
        return int(value)
    return value


def rms(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the root mean square of each image's features, computed in float32 and without gradient.

    Args:
        x: N×C×H×W.
        valid: N×1×H×W bool, False where a position does not count; None means all count.

    Returns:
        N×1×1×1 float32, >= 0, in feature units; 0 for an image without a valid position.
    """
    import torch

    with torch.no_grad():
        channels_per_part = max(1, _ELEMENTS_PER_PART // max(1, x[:, :1].numel()))
        norms: list[Tensor] = []
        for part in torch.split(x.detach(), channels_per_part, dim=1):
            counted = part if valid is None else torch.where(valid, part, 0)
            norms.append(torch.linalg.vector_norm(counted, dim=(1, 2, 3), keepdim=True, dtype=torch.float32))
        norm: Tensor = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)
        if valid is None:
            return norm.div_(math.sqrt(max(1, x[0].numel())))
        count = valid.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.float32) * x.shape[1]
        return norm.div_(count.clamp_(min=1).sqrt_())


def check_number(
    key: str,
    value: object,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """Return the value as a float, if it is finite and within its range.

    Args:
        key: the dotted key of the value, such as `noise.params.p`.

    Raises:
        ConfigError: not a number, not finite or out of range.
    """
    bounds = ((">=", at_least), ("<=", at_most), ("<", below))
    allowed = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
    # bool is a Real in Python, but `p: true` in a configuration is a mistake.
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ConfigError(f"{key} must be a finite number{f' {allowed}' if allowed else ''}, got {value!r}.")
    number = float(value)
    too_low = at_least is not None and number < at_least
    too_high = (at_most is not None and number > at_most) or (below is not None and number >= below)
    if too_low or too_high:
        raise ConfigError(f"{key} must be {allowed}, got {value}.")
    return number


def check_integer(key: str, value: object, *, at_least: int, at_most: int | None = None) -> int:
    """Return the value as an int, if it is a whole number within its range.

    Raises:
        ConfigError: not a whole number, or out of range.
    """
    number = check_number(key, value, at_least=at_least, at_most=at_most)
    if not number.is_integer():
        raise ConfigError(f"{key} must be a whole number, got {value}.")
    return int(number)
