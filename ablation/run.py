"""Hydra entry point, `python -m ablation.run`: composes the configuration and starts the sweep. See `--help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablation.config.compose import config_folder
from ablation.config.messages import exit_on_user_error

if TYPE_CHECKING:
    from omegaconf import DictConfig


# Here and not in execute.py, because importing that module loads torch, and `--help` must not.
def run_cell(cfg: DictConfig) -> None:
    """Task function that Hydra launchers call once per job."""
    from omegaconf import OmegaConf

    from ablation.execute import execute

    composed = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(composed, dict)
    execute({str(key): value for key, value in composed.items()})


def main() -> None:
    """Run the command line; an error that a user can fix ends in one message and exit status 1."""
    with exit_on_user_error():
        import hydra
        from hydra.core.config_store import ConfigStore

        from ablation.run import run_cell as importable  # workers cannot import it from __main__

        # Hydra deep-copies its repositories, and this singleton with them, for every group that --help lists and
        # every cell that it composes. Nothing writes to the copies; without them --help is 0.5 s faster.
        ConfigStore.__deepcopy__ = lambda self, _memo: self  # type: ignore[attr-defined]
        hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(importable)()


if __name__ == "__main__":
    main()
