"""Build each distinct model once, so that models and levels that cannot work are found before any training."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ablation.config.schemas import RunConfig
from ablation.models.levels import ProbedModel
from ablation.models.locate import needs_building
from ablation.processes import launch
from ablation.records.errors import AblationError
from ablation.records.failure import Failure
from ablation.sweep.plan import InvalidCell, Plan, PlannedCell, first_reasons


def check_models(plan: Plan) -> Plan:
    """Build each distinct model once, and move the cells that cannot run to the invalid ones.

    This finds levels that a model does not produce, configs that detectron2 refuses, weights that fit nothing, and
    noise schedules that end after the training. A dry run leaves out cells for which nothing of this can happen.

    Raises:
        AblationError: no cell is left; the message holds the first reasons.
    """
    models: dict[str, ProbedModel | AblationError] = {}
    must_build: dict[str, bool] = {}
    refused: dict[str, str] = {}
    for planned in plan.to_do:
        key = planned.config.model.model_dump_json()
        if planned.config.sweep.dry_run:
            if key not in must_build:
                must_build[key] = needs_building(planned.config.model)
            if not (must_build[key] or _needs_levels_or_length(planned.config)):
                continue
        if key not in models:
            models[key] = _probe_model(planned)
        found = models[key]
        try:
            if isinstance(found, AblationError):
                raise found
            _check_cell(planned, found)
        except (AblationError, ValueError) as error:
            refused[planned.cell.run_id] = str(error)
    invalid = [InvalidCell(p.cell.factors, refused[p.cell.run_id]) for p in plan.cells if p.cell.run_id in refused]
    cells = [planned for planned in plan.cells if planned.cell.run_id not in refused]
    if not cells:
        raise AblationError(first_reasons(invalid))
    return replace(plan, cells=cells, invalid=[*plan.invalid, *invalid]) if invalid else plan


def _needs_levels_or_length(config: RunConfig) -> bool:
    """Return True if levels or the number of iterations of the model decide whether a cell can run."""
    noise, schedule = config.noise, config.noise.schedule
    names_levels = (
        noise.levels != "all" or noise.destination != "both" or config.evaluation.noise_grid.levels != ["all"]
    )
    depends_on_length = noise.acts("train") and (schedule.start > 0 or schedule.full is not None)
    return names_levels or depends_on_length


def _check_cell(planned: PlannedCell, model: ProbedModel) -> None:
    config = planned.config
    for noise in (config.noise, *(test.noise for test in config.evaluation.noise_grid.cells)):
        model.levels.select(noise, config.model.name)
    length = config.schedule.length(planned.train_images, config.schedule.batch_size or model.batch_size)
    iterations = model.iterations if length is None else length
    config.noise.check_length(iterations, f"{iterations}, the iterations of the training")


def _probe_model(planned: PlannedCell) -> ProbedModel | AblationError:
    # In a process of its own: building a model loads torch, and a custom model may do anything.
    model = planned.config.model
    try:
        probed: ProbedModel | AblationError = launch.call(_probe, model.model_dump(), log=Path(os.devnull))
    except launch.CallFailed as error:
        return AblationError(_describe(model.name, error.failure))
    return probed


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


def _probe(model: dict[str, object]) -> ProbedModel | AblationError:
    from ablation.models.build import probe_model

    try:
        return probe_model(model)
    except AblationError as error:
        return error
