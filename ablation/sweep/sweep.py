"""A sweep from plan to report: show the plan, do what is left, account for every run, tell the result."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from ablation import __version__
from ablation.records import history, provenance
from ablation.records.cells import Cell, read_cells, write_cells
from ablation.records.errors import AblationError, RecordError
from ablation.records.failure import Failure
from ablation.records.paths import RunPaths, SweepPaths, TrainingPaths
from ablation.records.schema import Record, RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record, try_read_record, write_record
from ablation.sweep.check_models import check_models
from ablation.sweep.plan import InvalidCell, Plan, PlannedCell, RequestedCell, is_completed, plan

Launch = Callable[[Sequence[PlannedCell], str], Sequence["Failure | None"]]


class SweepFailed(AblationError):
    """Some runs of the sweep have no result; the others do."""


def run_sweep(asked: Iterable[RequestedCell], launch_runs: Launch, *, workers: int, arguments: Sequence[str]) -> None:
    """Plan, run what is left, report.

    launch_runs: runs cells and returns a failure or None for each; workers: how many it runs at a time.

    Raises:
        SweepFailed: after the report, when runs failed or cells are invalid.
    """
    console = Console(soft_wrap=True, highlight=False)
    planned = plan(asked)
    if not planned.cells[0].config.sweep.dry_run:
        _check_writable(planned.paths.folder)
    planned = check_models(planned)
    name = planned.paths.folder.name
    console.print(f"[bold]{name}[/bold]: {planned.describe(workers)}")
    for data, survey in planned.surveys.items():
        console.print(f"{data}: {survey.summary}.", markup=False)
        for remark in survey.remarks:
            console.print(f"  {remark}", markup=False)
    for cell in planned.invalid:
        console.print(f"invalid: {_factors(cell)}: {cell.reason}", markup=False)
    if planned.cells[0].config.sweep.dry_run:
        return
    _check_versions(planned)
    _append_history(planned, arguments)
    try:
        _run_waves(planned, launch_runs, console)
        _write_report(planned, console)
    except OSError as error:
        raise AblationError(
            f"{error.filename or planned.paths.folder} cannot be written: {error.strerror}. Mend that and repeat the "
            "same command; finished runs are skipped."
        ) from error


def _run_waves(planned: Plan, launch_runs: Launch, console: Console) -> None:
    """Run what is left: one run for each training first, then those that share one."""
    leading, sharing = planned.waves
    failures = _run_until_done(planned.paths, leading, launch_runs, console)
    if not _is_stopped(failures):
        # What its training cannot give, no run that shares it can; it is not tried once more for each of them.
        lost = {one.cell.training_id: failure for one, failure in failures if not _is_trained(planned.paths, one)}
        for one in sharing:
            if failure := lost.get(one.cell.training_id):
                _record_lost_run(
                    planned.paths, one, replace(failure, message=f"Its training failed: {failure.message}")
                )
        left = [one for one in sharing if one.cell.training_id not in lost]
        if leading and left:
            console.print(f"Evaluations left, of trainings that are done now: {len(left)}.")
        _run_until_done(planned.paths, left, launch_runs, console)


_Failures = list[tuple[PlannedCell, Failure]]


def _run_until_done(paths: SweepPaths, left: Sequence[PlannedCell], launch_runs: Launch, console: Console) -> _Failures:
    """Run cells to their end, waiting for those that another command is at work on; the failures among them."""
    failures: _Failures = []
    while left:
        busy = []
        for one, failure in zip(left, launch_runs(left, paths.folder.name), strict=True):
            if failure is not None and failure.kind == "busy":
                busy.append(one)
                continue
            _record_lost_run(paths, one, failure)
            failures += [(one, failure)] if failure is not None else []
        if _is_stopped(failures):
            return failures
        if busy:
            console.print(f"Waiting for {len(busy)} runs that another command is at work on.")
        left = _wait_for_locks(paths, busy)
    return failures


def _is_stopped(failures: _Failures) -> bool:
    """Whether the user, or the limit of failures, ended it before its time."""
    return any(failure.kind == "interrupted" for _, failure in failures)


def _is_trained(paths: SweepPaths, one: PlannedCell) -> bool:
    return is_completed(paths.training(one.cell.training_id).record, TrainingRecord)


def _wait_for_locks(paths: SweepPaths, busy: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Wait until nobody else works on these runs; those that are still not done then."""
    for one in busy:
        for lock in (paths.training(one.cell.training_id).lock, paths.run(one.cell.run_id).lock):
            with FileLock(lock, poll_interval=1.0):
                pass
    return [one for one in busy if not is_completed(paths.run(one.cell.run_id).record, RunRecord)]


def _check_versions(planned: Plan) -> None:
    """Refuse to mix results of other versions into a sweep, unless the user allows it.

    Raises:
        AblationError: naming what differs.
    """
    allowed = planned.cells[0].config.sweep.allow_other_versions
    cells = [*read_cells(planned.paths.cells), *(p.cell for p in planned.cells)]
    now = provenance.versions()
    found = {provenance.difference(environment, now) for environment in _environments(planned.paths, cells)} - {""}
    if found and not allowed:
        raise AblationError(
            f"{planned.paths.folder} holds results of other versions: {'; '.join(sorted(found))}. Give the sweep "
            "another name (sweep.name=...), or mix them knowingly with sweep.allow_other_versions=true."
        )


def _environments(paths: SweepPaths, cells: Iterable[Cell]) -> Iterator[Mapping[str, object]]:
    """What computed the results that a report of these cells would hold, and the checkpoints that would go on."""
    trainings = {cell.training_id: paths.training(cell.training_id) for cell in cells}
    for run_id in {cell.run_id for cell in cells}:
        run = try_read_record(paths.run(run_id).record, RunRecord)
        if run is not None and run.status is Status.COMPLETED:
            yield run.environment
    for training_id, folder in trainings.items():
        training = try_read_record(paths.training(training_id).record, TrainingRecord)
        if training is not None and (training.status is Status.COMPLETED or folder.checkpoint.exists()):
            yield training.environment


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made before anything starts; makes nothing."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise _unwritable(folder, f"{nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _unwritable(folder, f"no permission to write in {nearest}")


def _unwritable(folder: Path, reason: str) -> AblationError:
    return AblationError(f"{folder} cannot be written: {reason}. Choose another folder with sweep.root=...")


def _append_history(planned: Plan, arguments: Sequence[str]) -> None:
    """Add the command and its cells to what the sweep folder has been asked for."""
    paths = planned.paths
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(paths.lock):
            cells = {_cell_key(cell): _with_primary_metric(cell, planned) for cell in read_cells(paths.cells)}
            cells |= {_cell_key(p.cell): p.cell for p in planned.cells}
            write_cells(paths.cells, list(cells.values()))
            invalid = [{"factors": cell.factors, "reason": cell.reason} for cell in planned.invalid]
            entry = {
                "command": shlex.join(["python", "-m", "ablation.run", *arguments]),
                "time": time.time(),
                "version": __version__,
                "invalid": invalid,
                "data": {name: [survey.summary, *survey.remarks] for name, survey in planned.surveys.items()},
            }
            history.append(paths.sweep, entry)
    except OSError as error:
        raise _unwritable(paths.folder, str(error.strerror)) from error


def _cell_key(cell: Cell) -> str:
    """What was asked, but for how it is evaluated, which changes what is said about a run and not the run."""
    asked = {key: value for key, value in cell.config.items() if not key.startswith("evaluation.")}
    return json.dumps([cell.run_id, asked], sort_keys=True)


def _with_primary_metric(cell: Cell, planned: Plan) -> Cell:
    """An earlier command's cell, as the present one reports it: a report is about one primary metric."""
    metric = planned.cells[0].config.evaluation.primary_metric
    return replace(cell, config={**cell.config, "evaluation.primary_metric": metric})


def _record_lost_run(paths: SweepPaths, one: PlannedCell, failure: Failure | None) -> None:
    """Write the record that a process could not write because it died."""
    run, training = paths.run(one.cell.run_id), paths.training(one.cell.training_id)
    lost = failure or Failure("exit", "The process ended without a record.", "Repeat the same command.")
    status = Status.INTERRUPTED if lost.kind == "interrupted" else Status.FAILED
    if _is_abandoned(run, RunRecord):
        blank = RunRecord(status, one.config.seed, lost, run_id=one.cell.run_id, training_id=one.cell.training_id)
        write_record(run.record, _ended(run, blank))
    if training.record.exists() and _is_abandoned(training, TrainingRecord):
        blank_training = TrainingRecord(status, one.config.seed, lost, training_id=one.cell.training_id)
        write_record(training.record, _ended(training, blank_training))


def _is_abandoned(paths: RunPaths | TrainingPaths, kind: type[Record]) -> bool:
    """Whether nobody works on it and nobody said how it ended."""
    paths.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(paths.lock, timeout=0):
            record = read_record(paths.record, kind)
            return record is None or record.status is Status.RUNNING
    except Timeout:
        return False
    except RecordError:
        return True


def _ended(paths: RunPaths | TrainingPaths, blank: RunRecord | TrainingRecord) -> Record:
    try:
        begun = read_record(paths.record, type(blank))
    except RecordError:
        begun = None
    return blank if begun is None else replace(begun, status=blank.status, error=blank.error, finished=time.time())


def _write_report(planned: Plan, console: Console) -> None:
    from ablation.report.build import build
    from ablation.report.document.tables import build_summary

    folder = planned.paths.folder
    findings, index = build([folder])
    console.print(build_summary(findings), soft_wrap=False)
    console.print(f"Report:      {index}")
    console.print(f"TensorBoard: tensorboard --logdir {shlex.quote(str(folder))}")
    records = [read_record(planned.paths.run(run_id).record, RunRecord) for run_id in planned.runs]
    failed = [r for r in records if r is not None and r.status is not Status.COMPLETED]
    if failed or planned.invalid:
        lines = [f"{r.run_id}: {r.error.message if r.error else r.status.value}" for r in failed]
        lines += [f"{_factors(cell)}: {cell.reason}" for cell in planned.invalid]
        raise SweepFailed(
            f"{len(lines)} of {len(planned.runs) + len(planned.invalid)} runs have no result; repeat the same "
            "command to try again, finished runs are skipped.\n" + "\n".join(lines)
        )


def _factors(cell: InvalidCell) -> str:
    return " ".join(f"{key}={value}" for key, value in cell.factors.items()) or "the only cell"
