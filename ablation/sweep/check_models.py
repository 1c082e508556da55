"""Build each distinct model once, so that models and levels that cannot work are found before any training."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ablation.models.levels import Levels
from ablation.processes import launch
from ablation.records.errors import AblationError
from ablation.records.failure import Failure
from ablation.sweep.plan import InvalidCell, Plan, PlannedCell, first_reasons


def check_models(plan: Plan) -> Plan:
    """Build each distinct model once, without its weights, and move the cells that cannot run to the invalid ones.

    This finds levels that a model does not produce and configs that detectron2 refuses. A dry run only checks cells
    whose levels or overrides the user gave.

    Raises:
        AblationError: no cell is left; the message holds the first reasons.
    """
    levels: dict[str, Levels | AblationError] = {}
    refused: dict[str, str] = {}
    for planned in plan.to_do:
        config = planned.config
        is_default = config.noise.levels == "all" and config.noise.destination == "both"
        is_default &= config.evaluation.noise_grid.levels == ["all"]
        if config.sweep.dry_run and is_default and not config.model.overrides:
            continue
        key = config.model.model_dump_json()
        if key not in levels:
            levels[key] = _find_levels(planned)
        found = levels[key]
        try:
            if isinstance(found, AblationError):
                raise found
            for noise in (config.noise, *(test.noise for test in config.evaluation.noise_grid.cells())):
                found.select(noise, config.model.name)
        except AblationError as error:
            refused[planned.cell.run_id] = str(error)
    invalid = [InvalidCell(p.cell.factors, refused[p.cell.run_id]) for p in plan.cells if p.cell.run_id in refused]
    cells = [planned for planned in plan.cells if planned.cell.run_id not in refused]
    if not cells:
        raise AblationError(first_reasons(invalid))
    return replace(plan, cells=cells, invalid=[*plan.invalid, *invalid]) if invalid else plan


def _find_levels(planned: PlannedCell) -> Levels | AblationError:
    # In a process of its own: building a model loads torch, and a custom model may do anything.
    model = planned.config.model
    try:
        levels: Levels | AblationError = launch.call(_probe, model.model_dump(), log=Path(os.devnull))
    except launch.CallFailed as error:
        return AblationError(_describe(model.name, error.failure))
    return levels


def _describe(model: str, failure: Failure) -> str:
    if failure.kind == "exception":
        return f"The model {model} cannot be built: {failure.message} Check model.config and model.overrides."
    if failure.kind == "out-of-memory":
        reason = failure.message.rstrip(".")
        return f"No memory to build the model {model}: {reason}. Free some, or raise its limit (ulimit -v)."
    return (
        f"The process that builds the model {model} ended early: {failure.message} A limit of memory or time may have "
        "ended it (ulimit -a), or code of model.imports. Repeat the command."
    )


def _probe(model: dict[str, object]) -> Levels | AblationError:
    from ablation.models.build import probe_levels

    try:
        return probe_levels(model)
    except AblationError as error:
        return error
