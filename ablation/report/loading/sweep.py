"""Sweep folders as long-form frames: one row per cell, per point of a curve, per noised level."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.records import history
from ablation.records.cells import Cell, format_factor
from ablation.records.errors import AblationError, RecordError
from ablation.records.paths import SweepPaths
from ablation.records.schema import Status
from ablation.report.loading import frames
from ablation.report.loading.cells import find_cells
from ablation.report.loading.curves import find_gaps, read_curves
from ablation.report.loading.factors import SIGMA, precedence, swept
from ablation.report.loading.index import Problem, RecordIndex, sweep_names
from ablation.report.loading.rerun import rerun_command

FALLBACKS = ("segm/AP", "bbox/AP")

_FRAMES = ("curves", "levels", "grid", "corruptions", "error_shift", "cost")
_PERSONAL = ("pid", "host")  # they say where a run was computed, which changes no result


@dataclass(frozen=True)
class Sweep:
    """Records of one sweep, or of several side by side.

    Attributes:
        folders: Of the sweeps.
        runs: One row per cell, sorted by factors and seed: run_id, training_id, status, seed, noise.sigma, one column
            per factor, one per metric (percent; NaN without a value). Cells that share a run repeat its numbers.
            A run whose training diverged has the status diverged and no values, or 0 if `diverged_rule` is zero.
        curves: One row per logged number: training_id, iteration (counted from 0), metric, value.
        levels: One row per noised level: phase (train or eval), id (of the training or the run), level, calls, sigma
            (realised), snr_db (dB).
        grid: One row per metric and cell of a run's noise grid: run_id, test_type, test_sigma, test_levels, draw,
            metric, value (percent).
        corruptions: One row per metric and corruption: run_id, corruption, severity, metric, value (percent).
        error_shift: TIDE's kinds of error: run_id, task, kind, value (points of AP50).
        cost: One row per completed training and run: phase, id, seconds, peak_memory (MiB), iteration_seconds (median).
        factors: Swept keys except seed, as typed, noise.sigma last; `sweep` comes first if there are several folders.
        metrics: Columns of runs that are metrics.
        primary_metric: The metric that the report's answer is about.
        named_metric: The one that the configuration names, which differs if no run measured it.
        diverged_rule: evaluation.diverged of the last command: survivors or zero.
        diverged: Runs whose training diverged.
        failures: Runs that ended without a result for another reason.
        remarks: Notes on results that exist.
        refusals: Cells of the last command that cannot run: their factors, then the reason.
        commands: As typed.
        reruns: By run_id the command that repeats this one run.
        data: Findings about the files of the last command.
        versions: By name of a package or device all its values in the records.
    """

    folders: tuple[Path, ...]
    runs: pd.DataFrame
    curves: pd.DataFrame
    levels: pd.DataFrame
    grid: pd.DataFrame
    corruptions: pd.DataFrame
    error_shift: pd.DataFrame
    cost: pd.DataFrame
    factors: tuple[str, ...]
    metrics: tuple[str, ...]
    primary_metric: str
    named_metric: str
    diverged_rule: str
    diverged: tuple[Problem, ...]
    failures: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    refusals: tuple[str, ...]
    commands: tuple[str, ...]
    reruns: Mapping[str, str]
    data: tuple[str, ...]
    versions: Mapping[str, tuple[str, ...]]

    @property
    def folder(self) -> Path:
        """First folder; the report goes below it."""
        return self.folders[0]

    @property
    def name(self) -> str:
        """Names of the folders, joined by a plus."""
        return " + ".join(sweep_names(self.folders))

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Factors that take more than one value; the others explain no difference."""
        return tuple(f for f in self.factors if self.runs[f].map(str).nunique() > 1)

    @property
    def completed(self) -> pd.DataFrame:
        """Rows of the completed runs."""
        return self.runs[self.runs["status"] == Status.COMPLETED.value]

    @property
    def scored(self) -> pd.DataFrame:
        """Rows of the runs that have scores: the completed ones, and diverged ones if they score 0."""
        statuses = (Status.COMPLETED, Status.DIVERGED) if self.diverged_rule == "zero" else (Status.COMPLETED,)
        return self.runs[self.runs["status"].isin([status.value for status in statuses])]

    @property
    def is_finished(self) -> bool:
        """True if nothing is left to do: every run completed or diverged."""
        return all(Status(status).is_final for status in self.runs["status"])

    def resamples(self, metric: str) -> tuple[dict[str, NDArray[np.float64]], int | None, tuple[Problem, ...]]:
        """Return the metric on resamples of the test images.

        Returns:
            By run_id the metric on each resample, shape (B,); the least number of images; remarks on damaged files.
        """
        from ablation.scoring.bootstrap import read_resamples

        found: dict[str, tuple[NDArray[np.float64], int]] = {}
        damage = []
        names = dict(zip(self.folders, sweep_names(self.folders), strict=True))
        for run_id in self.completed["run_id"].unique():
            for folder, name in names.items():
                try:
                    if resamples := read_resamples(SweepPaths(folder).run(run_id).resamples, metric):
                        found[run_id] = resamples
                except RecordError as error:
                    damage.append(Problem(name, run_id, "", str(error).replace(f"{folder}/", "")))
        images = min((count for _, count in found.values()), default=None)
        draws = {run_id: values for run_id, (values, _) in found.items()}
        if draws and self.diverged_rule == "zero":
            draws |= dict.fromkeys((run.run_id for run in self.diverged), 0.0 * next(iter(draws.values())))
        return draws, images, tuple(damage)

    def ap(self, run_id: str, images: Iterable[Any] | None = None, metric: str | None = None) -> float:
        """Return AP, or another metric, of one run on some of its test images.

        Args:
            run_id: A completed run.
            images: Ids of test images, one counted as often as it occurs; None for each image once.
            metric: Task and name, such as bbox/AP50; the primary metric by default.

        Returns:
            Percent; NaN if these images hold no ground truth of that kind.

        Raises:
            AblationError: An unknown run, image or metric, or the run's matches are missing.
            RecordError: The file of the matches is damaged.
        """
        from ablation.report.loading.matches import score_images

        if run_id not in set(self.completed["run_id"]):
            raise AblationError(
                f"{run_id!r} is no completed run of {self.name}. sweep.completed['run_id'] lists runs with a result."
            )
        runs = (SweepPaths(folder).run(run_id) for folder in self.folders)
        run = next(run for run in runs if run.record.is_file())
        return score_images(run, metric or self.primary_metric, images)


def load_sweep(folder: Path | str) -> Sweep:
    """Read one sweep folder, finished or not.

    Raises:
        AblationError: The folder is no sweep.
    """
    return load_sweeps([folder])


def load_sweeps(folders: Sequence[Path | str]) -> Sweep:
    """Read several sweep folders as one, with `sweep` as first factor; a single folder as load_sweep does.

    Raises:
        AblationError: One of the folders is no sweep, or none is given.
    """
    if not folders:
        raise AblationError("No sweep folder is given. Name at least one, such as sweeps/<name>.")
    given: dict[str, Path] = {}
    for folder in map(Path, folders):
        if (same := given.setdefault(os.path.realpath(folder), folder)) is not folder:
            raise AblationError(
                f"{same} and {folder} are the same sweep, and it is not compared with itself. Name it once."
            )
    sweeps = {paths: find_cells(paths) for paths in map(SweepPaths, given.values())}
    factors = tuple(sorted({f for cells, _ in sweeps.values() for f in swept(cells)}, key=precedence))
    rule = str(next(iter(sweeps.values()))[0][0].config.get("evaluation.diverged", "survivors"))
    parts = [_load(paths, *cells, factors, rule) for paths, cells in sweeps.items()]
    return parts[0] if len(parts) == 1 else _join(parts)


def _load(
    paths: SweepPaths, cells: Sequence[Cell], damage: Sequence[str], factors: tuple[str, ...], rule: str
) -> Sweep:
    index = RecordIndex(paths, cells)
    metrics = tuple(dict.fromkeys(m for run in index.completed for m in run.metrics))
    named = str(cells[0].config.get("evaluation.primary_metric", FALLBACKS[0]))
    curves, bad_lines = read_curves({t: paths.training(t).metrics for t in index.trainings})
    gaps = [index.damage(t, reason) for t, reason in find_gaps(paths, index.trainings, curves, bad_lines).items()]
    damaged = [index.damage(paths.cells.name, f"{reason}. This cell is left out.") for reason in damage]
    if reason := history.damage(paths.sweep):
        damaged.append(index.damage(paths.sweep.name, f"It cannot be read: {reason}. The commands are not known."))
    zeros = [run.run_id for run in index.diverged] if rule == "zero" else []
    return Sweep(
        folders=(paths.folder,),
        runs=frames.runs(cells, index, factors, metrics, zeros),
        curves=curves,
        levels=frames.levels(index),
        grid=frames.with_zeros(frames.grid(index), zeros),
        corruptions=frames.with_zeros(frames.corruptions(index), zeros),
        error_shift=frames.error_shift(index),
        cost=frames.cost(index, curves),
        factors=factors,
        metrics=metrics,
        primary_metric=_measured(named, metrics),
        named_metric=named,
        diverged_rule=rule,
        diverged=index.diverged,
        failures=index.failures,
        remarks=(*damaged, *index.remarks, *gaps),
        refusals=history.refusals(paths.sweep),
        commands=history.commands(paths.sweep),
        reruns={cell.run_id: rerun_command(cell, index.name) for cell in cells},
        data=history.data(paths.sweep),
        versions=_versions(item for record in index.records for item in record.environment.items()),
    )


def _measured(named: str, metrics: Sequence[str]) -> str:
    return next((m for m in (named, *FALLBACKS) if m in metrics), named)


def _versions(items: Iterable[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for name, value in items:
        if name in _PERSONAL:
            continue
        for part, version in value.items() if isinstance(value, Mapping) else [("", value)]:  # the code has parts
            found.setdefault(f"{name} of {part}" if part else name, set()).add(str(format_factor(version)))
    return {name: tuple(sorted(values)) for name, values in found.items()}


def _join(parts: Sequence[Sweep]) -> Sweep:
    names = sweep_names([part.folder for part in parts])
    factors = ("sweep", *parts[0].factors)
    metrics = tuple(dict.fromkeys(m for part in parts for m in part.metrics))
    named = list(zip(parts, names, strict=True))
    stacked = {
        name: pd.concat([getattr(part, name).assign(sweep=own) for part, own in named], ignore_index=True)
        for name in ("runs", *_FRAMES)
    }
    first = ["run_id", "training_id", "status", "seed", *dict.fromkeys((*factors, SIGMA))]
    stacked["runs"] = stacked["runs"][[*first, *metrics]]
    return Sweep(
        folders=tuple(part.folder for part in parts),
        **stacked,
        factors=factors,
        metrics=metrics,
        primary_metric=_measured(parts[0].named_metric, metrics),
        named_metric=parts[0].named_metric,
        diverged_rule=parts[0].diverged_rule,
        diverged=tuple(replace(problem, sweep=own) for part, own in named for problem in part.diverged),
        failures=tuple(replace(problem, sweep=own) for part, own in named for problem in part.failures),
        remarks=tuple(replace(problem, sweep=own) for part, own in named for problem in part.remarks),
        refusals=tuple(f"{own}: {refusal}" for part, own in named for refusal in part.refusals),
        commands=tuple(dict.fromkeys(c for p in parts for c in p.commands)),
        reruns={run_id: command for p in parts for run_id, command in p.reruns.items()},
        data=tuple(dict.fromkeys(finding for p in parts for finding in p.data)),
        versions=_versions((name, v) for p in parts for name, values in p.versions.items() for v in values),
    )
