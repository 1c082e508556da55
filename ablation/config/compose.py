"""Composition of one cell's configuration by Hydra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablation.config.schemas import RunConfig
_PACKAGE = Path(__file__).parents[1]


def config_folder() -> Path:
    """Return the configuration folder: inside the package if installed from a wheel, beside it in a checkout."""
    inside = _PACKAGE / "conf"
    return inside if inside.is_dir() else _PACKAGE.parent / "conf"


def compose_config(overrides: Sequence[str]) -> RunConfig:
    """Compose and validate the configuration of one cell, as `python -m ablation.run` does.

    Args:
        overrides: words of a command line, such as `noise.sigma=0.1`.

    Raises:
        ConfigError: a value is invalid, or an override is a sweep.
        HydraException: Hydra cannot read or compose the overrides.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from ablation.config.schemas import validate_config
    from ablation.records.errors import ConfigError

    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line} is a sweep, and a preview shows one noise. Give one value.")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    return validate_config(composed)
