"""Hydra entry point, `python -m ablation.run`: composes the configuration and starts the sweep. See `--help`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ablation.completion import completion_script
from ablation.config.compose import config_folder
from ablation.config.messages import exit_on_user_error
from ablation.records.streams import tolerate_closed_output

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
    arguments = sys.argv[1:]
    with tolerate_closed_output(), exit_on_user_error():
        if "--version" in arguments:  # Hydra would print its own alone
            sys.stdout.write(f"{_versions()}\n")
        elif script := completion_script(arguments):
            sys.stdout.write(f"{script}\n")
        else:
            _run_hydra()


def _run_hydra() -> None:
    from argparse import ArgumentParser
    from importlib import import_module
    from typing import Any

    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.config_store import ConfigStore

    from ablation.run import run_cell as importable  # workers cannot import it from __main__

    # Hydra deep-copies its repositories, and this singleton with them, for every group that --help lists and
    # every cell that it composes. Nothing writes to the copies; without them --help is 0.5 s faster.
    ConfigStore.__deepcopy__ = lambda self, _memo: self  # type: ignore[attr-defined]
    # Hydra's parser takes no key after a flag that follows another key: seed=1 --config-dir presets model=mine.
    module: Any = import_module("hydra.main")  # hydra.main itself is a function

    def make_parser() -> ArgumentParser:
        parser = get_args_parser()
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]
        return parser

    module.get_args_parser = make_parser
    hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(importable)()


def _versions() -> str:
    from importlib import metadata

    from ablation import __version__
    from ablation.records.provenance import versions

    found = versions()
    hydra = metadata.version("hydra-core")
    return f"ablation {__version__}, detectron2 {found['detectron2']}, torch {found['torch']}, Hydra {hydra}"


if __name__ == "__main__":
    main()
