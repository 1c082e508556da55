"""`hydra.callbacks.ablation`: refuses settings of Hydra under which a command would leave results without a sweep."""

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Refusals(Callback):
    """Ends a command before it starts anything; Hydra turns other exceptions of a callback into warnings."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse `hydra.mode=RUN`, which calls no sweeper."""
        sys.exit(
            "hydra.mode must be MULTIRUN, got RUN: a sweep plans, keeps and reports its cells, and one configuration "
            "is a sweep of one cell. Leave hydra.mode out."
        )

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse other sweepers, and working folders of jobs."""
        sweeper = config.hydra.sweeper._target_
        if sweeper != "hydra_plugins.ablation.sweeper.AblationSweeper":
            choice = config.hydra.runtime.choices["hydra/sweeper"]
            sys.exit(
                f"hydra/sweeper must be ablation, got {choice} ({sweeper}): no other one plans, keeps and reports the "
                "cells. Leave hydra/sweeper out."
            )
        if config.hydra.job.chdir:
            sys.exit(
                "hydra.job.chdir must be false, got true: paths are relative to the folder of the command. Leave "
                "hydra.job.chdir out."
            )
