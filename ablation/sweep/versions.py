"""Whether the results of a sweep are of the versions that are installed now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ablation.records import provenance
from ablation.records.cells import Cell, parse_cells
from ablation.records.errors import AblationError
from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord, TrainingRecord
from ablation.records.storage import try_read_record
from ablation.sweep.deciding_code import changed_code
from ablation.sweep.plan import Plan


def check_versions(plan: Plan) -> str:
    """Refuse to mix results of several versions in one sweep.

    Returns:
        A remark on records that name no code; empty if there are none.

    Raises:
        AblationError: The sweep holds results of other versions.
    """
    cells = [*parse_cells(plan.paths.cells)[0], *(planned.cell for planned in plan.cells)]
    now = provenance.versions()
    found: set[str] = set()
    unnamed = 0
    for environment in _environments(plan.paths, cells):
        found.update(provenance.difference(environment, now), changed_code(environment.get("code")))
        unnamed += isinstance(environment.get("code"), str)
    if found:
        raise AblationError(
            f"{plan.paths.folder} holds results of other versions: {'; '.join(sorted(found))}. Give the sweep another "
            "name (sweep.name=...), or mix them knowingly with sweep.allow_other_versions=true."
        )
    if not unnamed:
        return ""
    return (
        f"{unnamed} records are of a version that did not note which code decided a result; the versions of the "
        "packages match."
    )


def _environments(paths: SweepPaths, cells: Iterable[Cell]) -> Iterator[Mapping[str, object]]:
    """Yield the environments of the results that a report would show and of the checkpoints that would be resumed."""
    for run_id in {cell.run_id for cell in cells}:
        run = try_read_record(paths.run(run_id).record, RunRecord)
        if run is not None and run.status.is_final:
            yield run.environment
    for folder in {paths.training(cell.training_id) for cell in cells}:
        training = try_read_record(folder.record, TrainingRecord)
        if training is not None and (training.status.is_final or folder.checkpoint.exists()):
            yield training.environment
