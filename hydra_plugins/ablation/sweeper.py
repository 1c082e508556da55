"""`hydra/sweeper=ablation`: the grid of Hydra's basic sweeper, planned first, so that nothing is computed twice.

Works with every Hydra launcher: it is given only the runs that are left, first one for each training.
"""

# No postponed annotations here: Hydra runs this file before it is in sys.modules, and dataclasses look there.

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

if TYPE_CHECKING:
    from ablation.records.failure import Failure
    from ablation.sweep.plan import PlannedCell, RequestedCell


@dataclass
class AblationSweeperConf:
    """params: overrides that an experiment sweeps by default, as in Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.ablation.sweeper.AblationSweeper"
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="ablation", node=AblationSweeperConf, provider="ablation")


class AblationSweeper(BasicSweeper):
    """Expands the grid, composes its cells in linear time, and conducts the sweep of those that are left."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)
        self._jobs = 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up the launcher that the configuration names."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Plan the grid that the arguments span and do what is left of it."""
        from ablation.records.errors import ConfigError
        from ablation.sweep.sweep import run_sweep

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides(arguments)
        keys = {o.get_key_element() for o in given}
        # What is typed replaces what the experiment sweeps; Hydra's own sweeper would multiply the two.
        defaults = [o for o in parser.parse_overrides(self._parse_config()) if o.get_key_element() not in keys]
        overrides = [*defaults, *given]
        if experiments := [o for o in overrides if o.key_or_group == "experiment" and o.is_sweep_override()]:
            raise ConfigError(
                f"{experiments[0].input_line} sweeps presets, each of which brings a grid of its own. Give one command "
                "for each; the same sweep.name=... puts them side by side."
            )
        workers = getattr(self.launcher, "workers", 1)
        run_sweep(self._requested_cells(overrides, parser), self._launch, workers=workers, arguments=arguments)

    def _launch(self, planned: Sequence["PlannedCell"], sweep_name: str) -> list["Failure | None"]:
        from ablation.records.failure import Failure
        from ablation.records.paths import SweepPaths
        from ablation.records.schema import RunRecord
        from ablation.sweep.plan import is_completed

        assert self.launcher is not None and self.config is not None
        folder = str(Path(str(self.config.sweep.root)) / sweep_name)
        with read_write(self.config):  # launchers put their own files there
            self.config.hydra.sweep.dir = folder
        own = [f"sweep.name={sweep_name}", f"hydra.sweep.dir={folder}"]
        batch = [[*p.overrides, *own, f"hydra.job.name={p.cell.run_id}"] for p in planned]
        self._jobs += len(batch)
        try:
            results = self.launcher.launch(batch, initial_job_idx=self._jobs - len(batch))
        except Exception as error:
            # Where a process died, joblib, submitit and Ray raise instead of returning: the records say what is done.
            lost = Failure("exception", f"{type(error).__name__}: {error}".splitlines()[0], log=folder)
            records = (SweepPaths(Path(folder)).run(p.cell.run_id).record for p in planned)
            return [None if is_completed(record, RunRecord) else lost for record in records]
        errors = [r._return_value if r.status.name == "FAILED" else None for r in results]
        return [
            None if e is None else getattr(e, "failure", Failure("exception", f"{type(e).__name__}: {e}"))
            for e in errors
        ]

    def _requested_cells(self, overrides: list[Override], parser: OverridesParser) -> Iterator["RequestedCell"]:
        from ablation.sweep.plan import RequestedCell

        assert self.hydra_context is not None and self.config is not None
        swept = {o.get_key_element() for o in overrides if o.is_sweep_override()}
        composer = _Composer(self.hydra_context, self.config, parser)
        for cell in self.split_arguments(overrides, None)[0]:
            composed, choices = composer.compose(cell, swept)
            factors = {o.key_or_group: o.value() for o in composer.parsed(cell) if o.get_key_element() in swept}
            yield RequestedCell(tuple(cell), factors, composed, choices)


class _Composer:
    """Lets Hydra compose what differs in structure, and sets plain swept values in copies of that."""

    def __init__(self, context: HydraContext, config: DictConfig, parser: OverridesParser) -> None:
        self._loader = context.config_loader
        self._config = config
        self._parser = parser
        self._bases: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, str], str]] = {}
        self._parsed: dict[str, Override] = {}
        self._plain: dict[str, bool] = {}

    def parsed(self, cell: Sequence[str]) -> list[Override]:
        for text in cell:
            if text not in self._parsed:
                self._parsed[text] = self._parser.parse_override(text)
        return [self._parsed[text] for text in cell]

    def compose(self, cell: Sequence[str], swept: set[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The configuration of a cell as nested plain mappings, and the option chosen in each group."""
        plain = {
            text: override
            for text, override in zip(cell, self.parsed(cell), strict=True)
            if override.get_key_element() in swept and self._is_plain(text, override)
        }
        base, choices, unresolved = self._base(tuple(text for text in cell if text not in plain))
        keys = [override.key_or_group for override in plain.values()]
        if all(_is_value(base, key) and not _is_referred(key, unresolved) for key in keys):
            composed = copy.deepcopy(base)
            for override in plain.values():
                _set(composed, override.key_or_group, override.value())
            return composed, choices
        # A key that does not exist, or that others refer to: Hydra's own way, with its own error.
        return self._base(tuple(cell))[:2]

    def _base(self, overrides: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str], str]:
        if overrides not in self._bases:
            config = self._loader.load_sweep_config(self._config, list(overrides))
            choices = {k: str(v) for k, v in config.hydra.runtime.choices.items() if not k.startswith("hydra")}
            app = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
            unresolved = str(OmegaConf.to_container(app))
            container = OmegaConf.to_container(app, resolve=True)
            assert isinstance(container, dict)
            self._bases[overrides] = ({str(k): v for k, v in container.items()}, choices, unresolved)
        return self._bases[overrides]

    def _is_plain(self, text: str, override: Override) -> bool:
        if text not in self._plain:
            key, value = override.key_or_group, override.value()
            is_change = not (override.is_add() or override.is_delete() or override.is_force_add())
            is_group = "." not in key and bool(self._loader.get_group_options(key))
            # Hydra merges mappings, and resolves interpolations.
            is_simple = not isinstance(value, dict) and "${" not in override.get_value_element_as_str()
            self._plain[text] = is_change and is_simple and override.package is None and not is_group
        return self._plain[text]


def _is_value(composed: dict[str, Any], dotted: str) -> bool:
    node: Any = composed
    for part in dotted.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return not isinstance(node, dict)


def _is_referred(dotted: str, unresolved: str) -> bool:
    """Whether an interpolation may read the key; those that are relative or nested may read any."""
    names = re.findall(r"\$\{([^}:]*)", unresolved)
    return any(not n or n[0] in ".$" or f"{dotted}.".startswith(f"{n}.") or n.startswith(f"{dotted}.") for n in names)


def _set(composed: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for part in path:
        composed = composed[part]
    composed[last] = value
