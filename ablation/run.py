"""`python -m ablation.run`: the Hydra entry. Composes, plans, launches, reports; `--help` says what to type."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PACKAGE = Path(__file__).parent


def run_cell(cfg: DictConfig) -> None:
    """What every Hydra launcher calls for one cell, in whatever process and on whatever machine it likes."""
    from omegaconf import OmegaConf

    from ablation.execute import execute

    composed = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(composed, dict)
    execute({str(key): value for key, value in composed.items()})


def main() -> None:
    """Run the command line; what a user can mend ends in one message and exit status 1, without a traceback."""
    with told_errors():
        import hydra
        from hydra.core.config_store import ConfigStore

        from ablation.run import run_cell as importable  # workers cannot import it from __main__

        # A singleton that Hydra copies whole for every group that --help lists and every cell that it composes.
        ConfigStore.__deepcopy__ = lambda self, _memo: self  # type: ignore[attr-defined]
        hydra.main(config_path=str(configuration()), config_name="config", version_base="1.3")(importable)()


@contextlib.contextmanager
def told_errors() -> Iterator[None]:
    """Hydra is ready inside; what a user can mend ends in one message and exit status 1, without a traceback."""
    plugins = str(_PACKAGE / "plugins")
    sys.path.insert(0, plugins)  # before Hydra looks for its plugins
    # The workers of Ray and of submitit are new interpreters, which unpickle Hydra's state before anything else.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [plugins, os.environ.get("PYTHONPATH")]))
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from ablation.errors import AblationError

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
        from ablation.advice import advice

        sys.exit(advice(error))


def configuration() -> Path:
    """The folder of the configuration: inside the package when installed, beside it in a checkout."""
    inside = _PACKAGE / "conf"
    return inside if inside.is_dir() else _PACKAGE.parent / "conf"


def _comes_from_hydra(error: ValueError) -> bool:
    """Whether Hydra itself raised it, as it does for some of what a user types; one of ours is a bug and stays loud."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(names[-1]).startswith(("hydra.", "omegaconf."))


if __name__ == "__main__":
    main()
