"""`python -m ablation.run`: the Hydra entry. Composes, plans, launches, reports; `--help` says what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablation.config.compose import config_folder
from ablation.config.messages import exit_on_user_error

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run_cell(cfg: DictConfig) -> None:
    """What every Hydra launcher calls for one cell, in whatever process and on whatever machine it likes."""
    from omegaconf import OmegaConf

    from ablation.execute import execute

    composed = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(composed, dict)
    execute({str(key): value for key, value in composed.items()})


def main() -> None:
    """Run the command line; what a user can mend ends in one message and exit status 1, without a traceback."""
    with exit_on_user_error():
        import hydra
        from hydra.core.config_store import ConfigStore

        from ablation.run import run_cell as importable  # workers cannot import it from __main__

        # A singleton that Hydra copies whole for every group that --help lists and every cell that it composes.
        ConfigStore.__deepcopy__ = lambda self, _memo: self  # type: ignore[attr-defined]
        hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(importable)()


if __name__ == "__main__":
    main()
