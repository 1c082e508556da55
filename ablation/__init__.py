"""What does feature noise do to a detector? Hydra-configured ablation sweeps for detectron2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablation.report.loading.sweep import load_sweep

__version__ = "0.1.0"
__all__ = ["__version__", "load_sweep"]


def __getattr__(name: str) -> Any:
    # `import ablation` stays free: every command and every worker does it, and few of them need pandas.
    if name == "load_sweep":
        from ablation.report.loading.sweep import load_sweep

        return load_sweep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
