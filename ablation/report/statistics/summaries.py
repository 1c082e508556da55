"""What the figures beyond the metric against sigma show: a frame for each, made from a sweep and its estimates.

A cell is a row of the main table: all seeds of one combination of factors, by a short name. Values are means of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablation.records.cells import format_factor
from ablation.report.loading.factors import SIGMA, format_value, is_noise
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.estimates import Estimate, estimate
from ablation.report.statistics.findings import Findings, grouping, shown_factors

BASELINE = "baseline"
_LEVELS = "noise.levels"
_OTHER_TESTS = ["test_type", "test_levels"]


def cell_names(sweep: Sweep) -> list[str]:
    """The name of the cell of each row of Sweep.runs: its varied factors, those of the noise left out at sigma 0."""
    factors = shown_factors(sweep)
    return [_named(row, factors) for row in sweep.runs[list(dict.fromkeys((*factors, SIGMA)))].to_dict("records")]


def estimate_name(sweep: Sweep, found: Estimate) -> str:
    """The name of the cell that an estimate is about."""
    return _named({SIGMA: found.sigma, **found.factors}, shown_factors(sweep))


def by_level(findings: Findings) -> pd.DataFrame | None:
    """Mean paired differences of the primary metric in points: a row for each value of noise.levels.

    Columns: settings of the other varied factors, sigma last, that were tried on several levels; their name says which
    factors. None where there is none.
    """
    sweep, cells = findings.sweep, findings.outcome.compared
    if _LEVELS not in sweep.varied or not cells:
        return None
    others = [factor for factor in sweep.varied if factor not in (_LEVELS, SIGMA)]
    found: dict[str, dict[str, float | None]] = {}
    for cell in sorted(cells, key=lambda e: (*(format_value(e.factors[f]) for f in others), e.sigma)):
        setting = ", ".join([*(format_value(cell.factors[f]) for f in others), format_value(cell.sigma)])
        found.setdefault(setting, {})[str(cell.factors[_LEVELS])] = cell.difference
    table = pd.DataFrame({name: levels for name, levels in found.items() if len(levels) > 1}, dtype=float)
    order = [level for level in dict.fromkeys(str(e.factors[_LEVELS]) for e in cells) if level in table.index]
    return table.reindex(order).rename_axis(columns=", ".join((*others, SIGMA))) if len(table) else None


def train_by_test(sweep: Sweep) -> pd.DataFrame | None:
    """The primary metric in percent under each test noise: a row for each cell, columns by name of the test noise.

    None where no run was evaluated under a grid.
    """
    points = _tested(sweep)
    if points.empty:
        return None
    means = _of_cells(sweep, points).groupby(["cell", "test"])["value"].mean().unstack("test")
    return means.reindex(index=_order(sweep, means.index), columns=_tests(points))


def test_differences(sweep: Sweep) -> dict[str, dict[str, Estimate]]:
    """By cell and by name of the test noise: the seed-paired difference to the baseline under the same test noise.

    Empty where no run was evaluated under a grid.
    """
    points = _tested(sweep)
    found: dict[str, dict[str, Estimate]] = {}
    for test in _tests(points):
        means = points[points["test"] == test].groupby(_keys(sweep))["value"].mean().rename(sweep.primary_metric)
        runs = sweep.runs.drop(columns=sweep.primary_metric).join(means, on=_keys(sweep))
        for one in estimate(runs, grouping(sweep), sweep.primary_metric):
            if one.pairs:
                found.setdefault(estimate_name(sweep, one), {})[test] = one
    return found


def robustness(sweep: Sweep) -> pd.DataFrame:
    """AP, mPFN, rPFN, mPC and rPC in percent, of the primary metric's task, as far as they were measured; by cell."""
    task = sweep.primary_metric.split("/")[0]
    names = [f"{task}/{name}" for name in ("AP", "mPFN", "rPFN", "mPC", "rPC") if f"{task}/{name}" in sweep.metrics]
    means = sweep.runs.assign(cell=cell_names(sweep)).groupby("cell", sort=False)[names].mean()
    return means.reindex(_order(sweep, means.index)).dropna(how="all")


def test_curves(sweep: Sweep) -> pd.DataFrame:
    """The primary metric against the sigma of the test noise: cell, test (type and levels), sigma, value."""
    points = _of_cells(sweep, _tested(sweep))
    told = [name for name in _OTHER_TESTS if points[name].nunique() > 1]
    points["test"] = points[told].agg(", ".join, axis=1) if told else "test noise"
    means = points.groupby(["cell", "test", "test_sigma"], sort=False)["value"].mean().reset_index()
    return _in_order(sweep, means.rename(columns={"test_sigma": "x"}))


def corruption_curves(sweep: Sweep) -> pd.DataFrame:
    """The primary metric against severity: cell, corruption, x (0 is the clean image), value."""
    points = _of_cells(sweep, sweep.corruptions[sweep.corruptions["metric"] == sweep.primary_metric])
    means = points.groupby(["cell", "corruption", "severity"], sort=False)["value"].mean().reset_index()
    clean = sweep.runs.assign(cell=cell_names(sweep)).groupby("cell")[sweep.primary_metric].mean()
    start = means[["cell", "corruption"]].drop_duplicates().assign(severity=0)
    start["value"] = start["cell"].map(clean)
    every = pd.concat([start, means], ignore_index=True).rename(columns={"severity": "x"})
    return _in_order(sweep, every.sort_values("x", kind="stable"))


def error_kinds(sweep: Sweep) -> pd.DataFrame:
    """TIDE's kinds of error in points, of the primary metric's task: a row for each cell, a column for each kind."""
    task = sweep.primary_metric.split("/")[0]
    points = _of_cells(sweep, sweep.error_shift[sweep.error_shift["task"] == task])
    kinds = list(dict.fromkeys(points["kind"]))
    means = points.groupby(["cell", "kind"], sort=False)["value"].mean().unstack("kind")
    return means.reindex(index=_order(sweep, means.index), columns=kinds)


def class_differences(sweep: Sweep, most: int = 20) -> pd.DataFrame | None:
    """Mean paired differences of each class's AP in points: a row for each cell, the classes that differ most first.

    None with a single class, or without a baseline. most: classes.
    """
    task = sweep.primary_metric.split("/")[0]
    metrics = [m for m in sweep.metrics if m.startswith(f"{task}/AP-")]
    found: dict[str, dict[str, float]] = {}
    for metric in metrics:
        estimates = estimate(sweep.runs, grouping(sweep), metric)
        found[metric.removeprefix(f"{task}/AP-")] = {
            estimate_name(sweep, e): e.difference for e in estimates if e.difference is not None
        }
    table = pd.DataFrame(found).dropna(axis=1, how="all")
    if table.empty or table.shape[1] < 2:
        return None
    largest = table.abs().max().sort_values(ascending=False, kind="stable").index[:most]
    return table.loc[_order(sweep, table.index), largest]


def costs(sweep: Sweep) -> pd.DataFrame:
    """Cost of each training as a multiple of the baselines' mean: cell, what, value; one row for each training."""
    trainings = sweep.cost[sweep.cost["phase"] == "train"].drop_duplicates("id").set_index("id")
    runs = sweep.runs.assign(cell=cell_names(sweep)).drop_duplicates(["training_id", "cell"])
    quiet = runs["training_id"][runs[SIGMA] == 0]
    parts = []
    for column, what in _COSTS.items():
        reference = trainings[column].reindex(quiet).mean()
        ratios = runs["training_id"].map(trainings[column]) / reference
        parts.append(pd.DataFrame({"cell": runs["cell"], "what": what, "value": ratios}).dropna())
    return _in_order(sweep, pd.concat(parts, ignore_index=True))


_COSTS = {"iteration_seconds": "time of an iteration", "peak_memory": "peak memory"}


def _named(values: Mapping[Any, Any], factors: Sequence[str]) -> str:
    kept = [f for f in factors if not (is_noise(f) and values[SIGMA] == 0)]
    named = ", ".join(f"{f.rsplit('.', 1)[-1]} {format_value(format_factor(values[f]))}" for f in kept)
    if values[SIGMA] != 0:
        return named
    return f"{BASELINE}, {named}" if named else BASELINE


def _tested(sweep: Sweep) -> pd.DataFrame:
    """The primary metric of each model under the noise grid, as Sweep.grid, and without test noise, at sigma 0.

    test: what a row was tested with, in short. A model that has a run without noise in evaluation and one with it met
    the same grid twice; the former counts.
    """
    metric, keys = sweep.primary_metric, _keys(sweep)
    points = sweep.grid[sweep.grid["metric"] == metric]
    if points.empty:
        return points.assign(test="")
    noisy = sweep.levels["id"][sweep.levels["phase"] == "eval"]
    runs = sweep.completed.drop_duplicates(keys)
    is_clean = ~runs["run_id"].isin(noisy)
    counted = is_clean | ~runs["training_id"].isin(runs["training_id"][is_clean])
    points = points.merge(runs.loc[counted, keys], on=keys)
    if not (points["test_sigma"] == 0).any():
        tests = points[[*keys, *_OTHER_TESTS]].drop_duplicates()
        clean = runs.loc[is_clean, [*keys, metric]].merge(tests, on=keys).rename(columns={metric: "value"})
        points = pd.concat([clean.assign(test_sigma=0.0, draw=0, metric=metric), points], ignore_index=True)
    told = [name for name in _OTHER_TESTS if points[name].nunique() > 1] + ["test_sigma"]
    return points.assign(test=[", ".join(map(format_value, row)) for row in points[told].itertuples(index=False)])


def _tests(points: pd.DataFrame) -> list[str]:
    """What models were tested with, by type, levels and sigma."""
    return list(dict.fromkeys(points.sort_values([*_OTHER_TESTS, "test_sigma"], kind="stable")["test"]))


def _keys(sweep: Sweep) -> list[str]:
    """What tells runs apart."""
    return ["run_id", "sweep"] if "sweep" in sweep.runs else ["run_id"]


def _of_cells(sweep: Sweep, points: pd.DataFrame) -> pd.DataFrame:
    """Points of runs, each with the cell that it belongs to; a run that cells share counts in each."""
    keys = _keys(sweep)
    return sweep.runs.assign(cell=cell_names(sweep))[[*keys, "cell"]].drop_duplicates().merge(points, on=keys)


def _order(sweep: Sweep, cells: Any) -> list[str]:
    there = set(cells)
    return [name for name in dict.fromkeys(cell_names(sweep)) if name in there]


def _in_order(sweep: Sweep, points: pd.DataFrame) -> pd.DataFrame:
    places = {name: place for place, name in enumerate(_order(sweep, points["cell"]))}
    return points.sort_values("cell", key=lambda cells: cells.map(places), kind="stable", ignore_index=True)
