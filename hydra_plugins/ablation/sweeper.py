"""`hydra/sweeper=ablation`: expands the grid as Hydra's basic sweeper does, then plans it before it launches.

Works with every Hydra launcher: it passes only the runs that are not completed, first one run per training.
"""

# No postponed annotations: Hydra runs this file before it is in sys.modules, where dataclasses would look them up.

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

if TYPE_CHECKING:
    from ablation.records.failure import Failure
    from ablation.sweep.plan import PlannedCell, RequestedCell


@dataclass
class AblationSweeperConf:
    """Options of the sweeper.

    Attributes:
        params: overrides that an experiment sweeps by default, as in Hydra's basic sweeper.
    """

    _target_: str = "hydra_plugins.ablation.sweeper.AblationSweeper"
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="ablation", node=AblationSweeperConf, provider="ablation")


class AblationSweeper(BasicSweeper):
    """Expands the grid, composes its cells quickly, and runs those that are not completed."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)
        self._jobs = 0

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep of the grid that the arguments span."""
        from ablation.records.errors import ConfigError
        from ablation.sweep.sweep import run_sweep

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        typed = parser.parse_overrides(arguments)
        keys = {o.get_key_element() for o in typed}
        # What is typed replaces what the experiment sweeps; Hydra's own sweeper would combine the two.
        defaults = [o for o in parser.parse_overrides(self._parse_config()) if o.get_key_element() not in keys]
        overrides = [*defaults, *typed]
        if experiments := [o for o in overrides if o.key_or_group == "experiment" and o.is_sweep_override()]:
            raise ConfigError(
                f"{experiments[0].input_line} sweeps presets, each of which brings a grid of its own. Give one command "
                "for each; the same sweep.name=... puts them side by side."
            )
        if continuous := [o for o in overrides if o.is_sweep_override() and not o.is_discrete_sweep()]:
            raise ConfigError(
                f"{continuous[0].input_line} has no single values. Give them: key=0,0.5,1 or key=range(0,1,0.1)."
            )
        workers = getattr(self.launcher, "workers", 1)
        run_sweep(self._requested_cells(overrides, parser), self._launch, workers=workers, arguments=arguments)

    def _launch(self, planned: Sequence["PlannedCell"], sweep_name: str) -> list["Failure | None"]:
        from ablation.records.errors import AblationError
        from ablation.records.failure import Failure, failure_from
        from ablation.records.overrides import hydra_value
        from ablation.records.paths import SweepPaths
        from ablation.records.schema import RunRecord
        from ablation.records.storage import read_status

        assert self.launcher is not None and self.config is not None
        folder = str(Path(planned[0].config.sweep.root) / sweep_name)
        with read_write(self.config):  # launchers put their own files there
            self.config.hydra.sweep.dir = folder
        own = [f"sweep.name={hydra_value(sweep_name)}", f"hydra.sweep.dir={hydra_value(folder)}"]
        batch = [[*p.overrides, *own, f"hydra.job.name={p.cell.run_id}"] for p in planned]
        self._jobs += len(batch)
        try:
            results = self.launcher.launch(batch, initial_job_idx=self._jobs - len(batch))
        except AblationError:
            raise
        except Exception as error:
            # If a process dies, joblib, submitit and Ray raise instead of returning; the records show what is done.
            lost = Failure("exception", f"{type(error).__name__}: {error}".splitlines()[0], log=folder)
            records = (SweepPaths(Path(folder)).run(p.cell.run_id).record for p in planned)
            return [None if read_status(record, RunRecord).is_final else lost for record in records]
        errors = [r._return_value if r.status.name == "FAILED" else None for r in results]
        return [None if e is None else getattr(e, "failure", None) or failure_from(e, Path(folder)) for e in errors]

    def _requested_cells(self, overrides: list[Override], parser: OverridesParser) -> Iterator["RequestedCell"]:
        from ablation.sweep.plan import RequestedCell

        assert self.hydra_context is not None and self.config is not None
        swept = {o.get_key_element() for o in overrides if o.is_sweep_override()}
        composer = _Composer(self.hydra_context, self.config, parser, swept)
        for cell in self.split_arguments(overrides, None)[0]:
            factors = {o.key_or_group: o.value() for o in map(composer.parse, cell) if o.get_key_element() in swept}
            composed, choices = composer.compose(cell)
            yield RequestedCell(tuple(cell), factors, composed, choices)


class _Composer:
    """Composes cells: Hydra composes each distinct structure once, plain swept values are set in copies of it."""

    def __init__(self, context: HydraContext, config: DictConfig, parser: OverridesParser, swept: set[str]) -> None:
        self._loader = context.config_loader
        self._config = config
        self._swept = swept
        self.parse = cache(parser.parse_override)
        self._is_plain = cache(self._has_plain_value)
        self._base = cache(self._compose_base)

    def compose(self, cell: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the configuration of a cell as nested plain mappings, and the option chosen in each group."""
        plain = [text for text in cell if self._is_plain(text)]
        values = {override.key_or_group: override.value() for override in map(self.parse, plain)}
        base = self._base(tuple(text for text in cell if text not in plain))
        if base.can_set(frozenset(values)):
            return base.copy_with(values), base.choices
        # A key that does not exist, or that others refer to: Hydra composes it, or raises its own error.
        whole = self._base(tuple(cell))
        return whole.resolved, whole.choices

    def _compose_base(self, overrides: tuple[str, ...]) -> "_Base":
        config = self._loader.load_sweep_config(self._config, list(overrides))
        choices = {k: str(v) for k, v in config.hydra.runtime.choices.items() if not k.startswith("hydra")}
        return _Base(OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"]), choices)

    def _has_plain_value(self, text: str) -> bool:
        override = self.parse(text)
        key = override.key_or_group
        is_change = not (override.is_add() or override.is_delete() or override.is_force_add())
        is_group = "." not in key and bool(self._loader.get_group_options(key))
        # Hydra merges mappings, and resolves interpolations.
        is_simple = not isinstance(override.value(), dict) and "${" not in override.get_value_element_as_str()
        is_plain = is_change and is_simple and override.package is None and not is_group
        return is_plain and override.get_key_element() in self._swept


class _Base:
    """A configuration that Hydra composed, for copies with other values."""

    def __init__(self, config: DictConfig, choices: dict[str, str]) -> None:
        self.choices = choices
        self.resolved: Any = OmegaConf.to_container(config, resolve=True)
        self.can_set = cache(self._is_independent_of)
        self._config = config

    def copy_with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy with the values of these dotted keys."""
        composed: dict[str, Any] = copy.deepcopy(self.resolved)
        for key, value in values.items():
            *path, last = key.split(".")
            reduce(getitem, path, composed)[last] = value
        return composed

    def _is_independent_of(self, keys: frozenset[str]) -> bool:
        """True if these keys hold single values and hiding them changes nothing else: no interpolation reads them."""
        from ablation.config.keys import flatten

        if not keys <= flatten(self.resolved).keys():
            return False
        hidden = copy.deepcopy(self._config)
        try:
            for key in keys:
                OmegaConf.update(hidden, key, "???")
            return bool(OmegaConf.to_container(hidden, resolve=True) == self.copy_with(dict.fromkeys(keys, "???")))
        except OmegaConfBaseException:
            return False
