"""Each distinct model built once, so that what cannot run is known before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ablation.models.levels import Levels
from ablation.processes import launch
from ablation.records.errors import AblationError
from ablation.sweep.plan import InvalidCell, Plan, PlannedCell, first_reasons


def check_models(planned: Plan) -> Plan:
    """Build each distinct model once, without its weights, and move what cannot run to the invalid cells.

    Before anything is trained this finds levels that the model does not produce and configs that detectron2
    refuses. A dry run asks only about cells whose levels or overrides the user wrote.
    """
    answers: dict[str, Levels | AblationError] = {}
    refused: dict[str, str] = {}
    for one in planned.to_do:
        config = one.config
        is_default = config.noise.levels == "all" and config.noise.destination == "both"
        is_default &= config.evaluation.noise_grid.levels == ["all"]
        if config.sweep.dry_run and is_default and not config.model.overrides:
            continue
        key = config.model.model_dump_json()
        if key not in answers:
            answers[key] = _probe(one)
        answer = answers[key]
        try:
            if isinstance(answer, AblationError):
                raise answer
            answer.select(config.noise, config.model.name)
            for test in config.evaluation.noise_grid.cells():
                answer.select(test.noise, config.model.name)
        except AblationError as error:
            refused[one.cell.run_id] = str(error)
    return _without(planned, refused)


def _without(planned: Plan, refused: Mapping[str, str]) -> Plan:
    invalid = [InvalidCell(p.cell.factors, refused[p.cell.run_id]) for p in planned.cells if p.cell.run_id in refused]
    cells = [p for p in planned.cells if p.cell.run_id not in refused]
    if not cells:
        raise AblationError(first_reasons(invalid))
    return replace(planned, cells=cells, invalid=[*planned.invalid, *invalid]) if invalid else planned


def _probe(one: PlannedCell) -> Levels | AblationError:
    model = one.config.model
    try:
        answer: Levels | AblationError = launch.call(_probe_levels, model.model_dump(), log=Path(os.devnull))
    except RuntimeError as error:
        return AblationError(f"The model {model.name} cannot be built: {error} Check model.config and model.overrides.")
    return answer


def _probe_levels(model: dict[str, object]) -> Levels | AblationError:
    from ablation.models.build import probe_levels

    try:
        return probe_levels(model)
    except AblationError as error:
        return error
