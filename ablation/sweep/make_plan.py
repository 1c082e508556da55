"""Validate and identify the cells of a command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ablation.config.base import NAME_LENGTH
from ablation.config.keys import flatten
from ablation.config.schemas import SweepConfig, validate_config
from ablation.data.build import DatasetCache
from ablation.data.survey import Survey
from ablation.evaluation.corruptions import check_corruptions
from ablation.records.cells import Cell
from ablation.records.errors import AblationError, ConfigError
from ablation.records.paths import SweepPaths
from ablation.sweep.identity import identify
from ablation.sweep.plan import InvalidCell, Plan, PlannedCell, RequestedCell, first_reasons

# Keys that decide no number of a run, by group.
_COMMON = {
    "sweep": tuple(SweepConfig.model_fields),
    "evaluation": ("primary_metric", "diverged", "batch_size", "loss_period", "pictures"),
}


def make_plan(requested: Iterable[RequestedCell]) -> Plan:
    """Validate and identify every cell, and look up what is completed.

    Raises:
        AblationError: no cell is valid; the message holds the first reasons.
    """
    cells: list[PlannedCell] = []
    invalid: list[InvalidCell] = []
    surveys: dict[str, Survey] = {}
    remarks: dict[str, None] = {}  # each once
    datasets = DatasetCache()
    for one in requested:
        try:
            cells.append(_plan_cell(one, datasets, surveys, remarks))
        except AblationError as error:
            invalid.append(InvalidCell(one.factors, str(error)))
    if not cells:
        raise AblationError(first_reasons(invalid) or "The command requests no run: a sweep among its values is empty.")
    _check_common(cells)
    return Plan(SweepPaths(_folder(cells)), cells, invalid, surveys, tuple(remarks))


def _check_common(cells: Sequence[PlannedCell]) -> None:
    """Refuse several values of a key that no id depends on: cells would share a run, which has one of them."""
    for group, names in _COMMON.items():
        for name in names:
            values = list(dict.fromkeys(getattr(getattr(p.config, group), name) for p in cells))
            if len(values) > 1:
                given = " and ".join(map(str, values[:2]))
                raise ConfigError(
                    f"{group}.{name} must be the same in the whole sweep, got {given}. Give one value, or a command "
                    "for each with a sweep.name of its own."
                )


def _plan_cell(
    requested: RequestedCell, datasets: DatasetCache, surveys: dict[str, Survey], remarks: dict[str, None]
) -> PlannedCell:
    config = validate_config(requested.composed)
    dataset = datasets.build(config.dataset)
    found = dataset.survey()
    check_corruptions(config, dataset)
    ids = identify(config, dataset)
    if found is not None:
        surveys[dataset.name] = found
    metric = config.evaluation.primary_metric
    if gap := dataset.find_gap(metric):
        remarks[
            f"evaluation.primary_metric={metric} has no value on the test images of {dataset.name}: {gap}. Choose one "
            "that has, such as evaluation.primary_metric=bbox/AP."
        ] = None
    noise = config.noise.built
    flat = flatten({k: v for k, v in requested.composed.items() if k != "sweep"})
    # The chosen options stand beside the keys, so that a swept group (noise=gaussian,uniform) is a factor too.
    settings = {**requested.choices, **flat, "dataset.content": ids.data, "model.content": ids.model}
    cell = Cell(ids.run_id, ids.training_id, requested.factors, settings, 0.0 if noise is None else noise.sigma)
    selection = dataset.selections.get("train")  # generated data have none
    images = len(selection.ids) if selection is not None else dataset.config.train_size
    return PlannedCell(config, cell, requested.overrides, images)


def _folder(cells: Sequence[PlannedCell]) -> Path:
    # A command that sweeps the model or the data set is still one sweep, in one folder.
    name = "+".join(dict.fromkeys(p.config.sweep_name for p in cells))
    if len(name) > NAME_LENGTH:
        raise ConfigError(
            f"sweep.name must be at most {NAME_LENGTH} characters long, got {name} from the models and data sets of "
            "this command. Give sweep.name=..."
        )
    return Path(cells[0].config.sweep.root) / name
