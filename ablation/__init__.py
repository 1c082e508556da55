"""Hydra-configured ablation sweeps of detectron2 trainings with feature noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablation.report.loading.sweep import load_sweep

__version__ = "0.1.0"
__all__ = ["__version__", "load_sweep"]


def __getattr__(name: str) -> Any:
    # Imported on first use: every command and every worker imports ablation, and few of them need pandas.
    if name == "load_sweep":
        from ablation.report.loading.sweep import load_sweep

        return load_sweep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
