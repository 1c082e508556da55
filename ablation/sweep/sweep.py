"""A sweep from its plan to its report: plan, check, launch waves, record lost runs, report."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from ablation import __version__
from ablation.records import history
from ablation.records.cells import Cell, parse_cells, write_cells
from ablation.records.errors import AblationError, Interrupted
from ablation.records.failure import UNFINISHED, Failure
from ablation.records.paths import RunPaths, SweepPaths, TrainingPaths
from ablation.records.schema import Record, RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record, read_status, set_aside, try_read_record, write_record
from ablation.sweep.check_models import check_models
from ablation.sweep.make_plan import make_plan
from ablation.sweep.plan import Plan, PlannedCell, RequestedCell
from ablation.sweep.versions import check_versions

Launch = Callable[[Sequence[PlannedCell], str], Sequence["Failure | None"]]
_Failures = list[tuple[PlannedCell, Failure]]


class SweepFailed(AblationError):
    """Some runs of the sweep have no result; the others have."""


def run_sweep(cells: Iterable[RequestedCell], launch: Launch, *, workers: int, arguments: Sequence[str]) -> None:
    """Plan a sweep, run what is not completed yet, and build the report.

    Args:
        cells: the grid.
        launch: runs cells in the sweep of that name, and returns a failure or None for each.
        workers: number of runs that `launch` runs at a time.
        arguments: the command line, for the history of the sweep.

    Raises:
        AblationError: the sweep cannot start, or its folder cannot be written.
        SweepFailed: after the report, if runs failed or cells are invalid.
        Interrupted: after the report, if the user stopped the runs.
    """
    console = Console(soft_wrap=True, highlight=False)
    plan = make_plan(cells)
    settings = plan.cells[0].config.sweep
    if not settings.dry_run:
        _check_writable(plan.paths.folder)
        for folder in {Path(planned.config.dataset.folder) for planned in plan.cells}:
            if not folder.is_dir():  # one that exists may hold all that is needed
                _check_writable(folder, "dataset.folder")
    plan = check_models(plan)
    _print_plan(plan, console, workers)
    if not settings.allow_other_versions and (remark := check_versions(plan)):
        console.print(remark, markup=False)
    if settings.dry_run:
        return
    _append_history(plan, arguments)
    try:
        failures = _run_waves(plan, launch, console)
        missing = _write_report(plan, console)
    except OSError as error:
        raise AblationError(
            f"{error.filename or plan.paths.folder} cannot be written: {error.strerror}. Fix this and repeat the "
            "command; finished runs are skipped."
        ) from error
    if missing:
        raise (Interrupted if any(f.kind == "interrupted" for _, f in failures) else SweepFailed)(missing)


def _print_plan(plan: Plan, console: Console, workers: int) -> None:
    console.print(f"[bold]{plan.paths.folder.name}[/bold]: {plan.describe(workers)}")
    for name, survey in plan.surveys.items():
        console.print(f"{name}: {survey.summary}.", markup=False)
        for remark in survey.remarks:
            console.print(f"  {remark}", markup=False)
    if missing := plan.without_validation:
        console.print(
            f"evaluation.loss_period: {len(missing)} of the finished trainings have no validation losses, which are "
            f"computed during a training only, the first is {missing[0]}. To train again: sweep.name=..."
        )
    for remark in plan.remarks:
        console.print(remark, markup=False)
    for cell in plan.invalid:
        console.print(f"invalid: {cell}", markup=False)


def _check_writable(folder: Path, key: str = "sweep.root") -> None:
    """Refuse a folder that cannot be created, without creating it."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise _unwritable(folder, f"{nearest} is not a folder", key)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _unwritable(folder, f"no permission to write in {nearest}", key)


def _unwritable(folder: Path, reason: str, key: str = "sweep.root") -> AblationError:
    return AblationError(f"{folder} cannot be written: {reason}. Choose another folder with {key}=...")


def _append_history(plan: Plan, arguments: Sequence[str]) -> None:
    """Add the command to sweep.json and its cells to cells.jsonl."""
    paths = plan.paths
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(paths.lock):
            # In these a report follows the last command, also for the cells of earlier commands.
            evaluation = plan.cells[0].config.evaluation
            settings = {f"evaluation.{key}": getattr(evaluation, key) for key in ("primary_metric", "diverged")}
            earlier, damage = parse_cells(paths.cells)
            if damage:
                set_aside(paths.cells, f"{damage[0]}. All cells that can be read are kept")
            cells = {_cell_key(cell): replace(cell, config={**cell.config, **settings}) for cell in earlier}
            cells |= {_cell_key(planned.cell): planned.cell for planned in plan.cells}
            write_cells(paths.cells, list(cells.values()))
            entry = {
                "command": shlex.join(["python", "-m", "ablation.run", *arguments]),
                "time": time.time(),
                "version": __version__,
                "invalid": [{"factors": cell.factors, "reason": cell.reason} for cell in plan.invalid],
                "data": {name: [survey.summary, *survey.remarks] for name, survey in plan.surveys.items()},
            }
            history.append(paths.sweep, entry)
    except OSError as error:
        raise _unwritable(paths.folder, str(error.strerror)) from error


def _cell_key(cell: Cell) -> str:
    """Cell key: run id and configuration without `evaluation.*`, which only affects reporting."""
    settings = {key: value for key, value in cell.config.items() if not key.startswith("evaluation.")}
    return json.dumps([cell.run_id, settings], sort_keys=True)


def _run_waves(plan: Plan, launch: Launch, console: Console) -> _Failures:
    """Run one run for each missing training, then the runs that share a training, and return the failures."""
    first_wave, second_wave = plan.waves
    failures = _run_until_done(plan.paths, first_wave, launch, console)
    if _is_unfinished(failures):
        return failures
    # If a training failed or diverged, so did every run that shares it, and none of them tries it once more.
    failed = {planned.cell.training_id: failure for planned, failure in failures}
    left = []
    for planned in second_wave:
        training_id = planned.cell.training_id
        if failure := _why_untrained(plan.paths.training(training_id), failed.get(training_id)):
            _record_lost_run(plan.paths, planned, failure)
        else:
            left.append(planned)
    if first_wave and left:
        console.print(f"{len(left)} evaluations of completed trainings are left.")
    return [*failures, *_run_until_done(plan.paths, left, launch, console)]


def _why_untrained(training: TrainingPaths, failure: Failure | None) -> Failure | None:
    """Return why a training has no weights: it diverged, now or earlier, or the run that was to train it failed."""
    record = try_read_record(training.record, TrainingRecord)
    if record is not None and record.status.is_final:
        return record.error  # None if it is completed
    return replace(failure, message=f"Its training failed: {failure.message}") if failure is not None else None


def _run_until_done(paths: SweepPaths, left: Sequence[PlannedCell], launch: Launch, console: Console) -> _Failures:
    """Run cells, wait for those that another command is running, and return the failures."""
    failures: _Failures = []
    while left:
        busy = []
        for planned, failure in zip(left, launch(left, paths.folder.name), strict=True):
            if failure is not None and failure.kind == "busy":
                busy.append(planned)
                continue
            _record_lost_run(paths, planned, failure)
            failures += [(planned, failure)] if failure is not None else []
        if _is_unfinished(failures):
            return failures
        if busy:
            console.print(f"Waiting for {len(busy)} runs of another command.")
        left = _wait_for_locks(paths, busy)
    return failures


def _is_unfinished(failures: _Failures) -> bool:
    """True if the user stopped the sweep, or it reached the limit of failures."""
    return any(failure.kind in UNFINISHED for _, failure in failures)


def _wait_for_locks(paths: SweepPaths, busy: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Wait until no other process works on these runs, and return those that are still not completed."""
    for planned in busy:
        for lock in (paths.training(planned.cell.training_id).lock, paths.run(planned.cell.run_id).lock):
            with FileLock(lock, poll_interval=1.0):
                pass
    return [planned for planned in busy if not read_status(paths.run(planned.cell.run_id).record, RunRecord).is_final]


def _record_lost_run(paths: SweepPaths, planned: PlannedCell, failure: Failure | None) -> None:
    """Write the records that a process could not write because it died."""
    failure = failure or Failure("exit", "The process ended without a record.", "Repeat the command.")
    status = Status.after(failure)
    seed, run_id, training_id = planned.config.seed, planned.cell.run_id, planned.cell.training_id
    run = RunRecord(status, seed, failure, run_id=run_id, training_id=training_id)
    _record_end(paths.run(run_id), run)
    if paths.training(training_id).record.exists():
        _record_end(paths.training(training_id), TrainingRecord(status, seed, failure, training_id=training_id))


def _record_end(paths: RunPaths | TrainingPaths, end: Record) -> None:
    """Write how a stage ended, unless another process works on it or its record says so already."""
    paths.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(Timeout), FileLock(paths.lock, timeout=0):
        start = try_read_record(paths.record, type(end))
        if start is None:
            write_record(paths.record, end)
        elif start.status is Status.RUNNING or (end.status.is_final and not start.status.is_final):
            write_record(paths.record, replace(start, status=end.status, error=end.error, finished=time.time()))


def _write_report(plan: Plan, console: Console) -> str:
    """Build and print the report, and return what a user must know about cells without a result; '' for none."""
    from ablation.report.build import build
    from ablation.report.document.tables import build_summary

    folder = plan.paths.folder
    findings, index = build([folder])
    console.print(build_summary(findings), soft_wrap=False)
    console.print(f"Report:      {index}", markup=False)
    console.print(f"TensorBoard: tensorboard --logdir {shlex.quote(str(folder))}", markup=False)
    records = [read_record(plan.paths.run(run_id).record, RunRecord) for run_id in plan.runs]
    failed = [r for r in records if r is not None and not r.status.is_final]
    lines = [f"{r.run_id}: {r.error.message if r.error else r.status.value}" for r in failed]
    lines += map(str, plan.invalid)
    if not lines:
        return ""
    return (
        f"{len(lines)} of {len(plan.runs) + len(plan.invalid)} runs have no result. Repeat the command to try them "
        "again; finished runs are skipped.\n" + "\n".join(lines)
    )
