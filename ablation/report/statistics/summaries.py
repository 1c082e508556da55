"""Summaries for figures and tables: one frame each, from a sweep and its estimates.

A cell is a row of the main table, by a short name: all seeds of one combination of factors. Values are means of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablation.records.cells import format_factor
from ablation.records.schema import Status
from ablation.report.loading.factors import SIGMA, format_value, is_noise
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.estimates import Estimate, estimate
from ablation.report.statistics.findings import Findings, grouping, shown_factors

BASELINE = "baseline"
_LEVELS = "noise.levels"
_OTHER_TESTS = ["test_type", "test_levels"]


def cell_names(sweep: Sweep) -> list[str]:
    """Return the cell name of each row of Sweep.runs: its varied factors, without those of the noise at sigma 0.

    If trainings diverged, the name says how many.
    """
    factors = shown_factors(sweep)
    rows = sweep.runs[list(dict.fromkeys((*factors, SIGMA)))].to_dict("records")
    names = pd.Series([_cell_name(row, factors) for row in rows], dtype=object)
    seeds = sweep.runs[["seed", "status"]].assign(name=names).drop_duplicates()
    diverged = seeds.loc[seeds["status"] == Status.DIVERGED.value, "name"].value_counts()
    asked = seeds.groupby("name")["seed"].nunique()
    labels = {name: f"{name}, diverged {count} of {asked[name]}" for name, count in diverged.items()}
    return names.map(lambda name: labels.get(name, name)).tolist()


def estimate_name(sweep: Sweep, one: Estimate) -> str:
    """Return the name of the cell that was estimated, as `cell_names` does."""
    name = _cell_name({SIGMA: one.sigma, **one.factors}, shown_factors(sweep))
    return f"{name}, diverged {one.diverged} of {one.asked}" if one.diverged else name


def by_level(findings: Findings) -> pd.DataFrame | None:
    """Return mean paired differences of the primary metric in points, with a row for each value of noise.levels.

    The columns are settings of the other varied factors, sigma last, that were tried on several levels; the name of
    the columns lists these factors. A cell that lacks pairs because a training diverged has no value. None if there is
    no such setting.
    """
    sweep, cells = findings.sweep, findings.outcome.compared
    if _LEVELS not in sweep.varied or not cells:
        return None
    others = [factor for factor in sweep.varied if factor not in (_LEVELS, SIGMA)]
    differences: dict[str, dict[str, float | None]] = {}
    for cell in sorted(cells, key=lambda e: (*(format_value(e.factors[f]) for f in others), e.sigma)):
        setting = ", ".join([*(format_value(cell.factors[f]) for f in others), format_value(cell.sigma)])
        value = None if cell.is_partial else cell.difference
        differences.setdefault(setting, {})[str(cell.factors[_LEVELS])] = value
    table = pd.DataFrame({name: levels for name, levels in differences.items() if len(levels) > 1}, dtype=float)
    table = table.dropna(axis=1, how="all")
    order = [level for level in dict.fromkeys(str(e.factors[_LEVELS]) for e in cells) if level in table.index]
    return table.reindex(order).rename_axis(columns=", ".join((*others, SIGMA))) if table.size else None


def train_by_test(sweep: Sweep) -> pd.DataFrame | None:
    """Return the primary metric in percent, with a row for each cell and a column for each test noise.

    None if no run was evaluated under a grid.
    """
    points = _grid_points(sweep)
    if points.empty:
        return None
    means = _with_cell(sweep, points).groupby(["cell", "test"])["value"].mean().unstack("test")
    return means.reindex(index=_order(sweep, means.index), columns=_test_names(points))


def test_differences(sweep: Sweep) -> dict[str, dict[str, Estimate]]:
    """Return by cell and test noise the estimate of the difference to the baseline under the same test noise.

    Empty if no run was evaluated under a grid.
    """
    points = _grid_points(sweep)
    estimates: dict[str, dict[str, Estimate]] = {}
    for test in _test_names(points):
        means = points[points["test"] == test].groupby(_keys(sweep))["value"].mean().rename(sweep.primary_metric)
        runs = sweep.runs.drop(columns=sweep.primary_metric).join(means, on=_keys(sweep))
        for one in estimate(runs, grouping(sweep), sweep.primary_metric):
            if one.pairs:
                estimates.setdefault(estimate_name(sweep, one), {})[test] = one
    return estimates


def robustness(sweep: Sweep) -> pd.DataFrame:
    """Return by cell AP, mPFN, rPFN, mPC and rPC of the primary metric's task, in percent, as far as measured."""
    task = sweep.primary_metric.split("/")[0]
    names = [f"{task}/{name}" for name in ("AP", "mPFN", "rPFN", "mPC", "rPC") if f"{task}/{name}" in sweep.metrics]
    means = sweep.runs.assign(cell=cell_names(sweep)).groupby("cell", sort=False)[names].mean()
    return means.reindex(_order(sweep, means.index)).dropna(how="all")


def test_curves(sweep: Sweep) -> pd.DataFrame:
    """Return the primary metric against the sigma of the test noise: cell, test (type and levels), x, value."""
    points = _with_cell(sweep, _grid_points(sweep))
    varied = [name for name in _OTHER_TESTS if points[name].nunique() > 1]
    points["test"] = points[varied].agg(", ".join, axis=1) if varied else "test noise"
    means = points.groupby(["cell", "test", "test_sigma"], sort=False)["value"].mean().reset_index()
    return _in_order(sweep, means.rename(columns={"test_sigma": "x"}))


def corruption_curves(sweep: Sweep) -> pd.DataFrame:
    """Return the primary metric against severity: cell, corruption, x (0 is the clean image), value."""
    points = _with_cell(sweep, sweep.corruptions[sweep.corruptions["metric"] == sweep.primary_metric])
    means = points.groupby(["cell", "corruption", "severity"], sort=False)["value"].mean().reset_index()
    clean = sweep.runs.assign(cell=cell_names(sweep)).groupby("cell")[sweep.primary_metric].mean()
    start = means[["cell", "corruption"]].drop_duplicates().assign(severity=0)
    start["value"] = start["cell"].map(clean)
    curves = pd.concat([start, means], ignore_index=True).rename(columns={"severity": "x"})
    return _in_order(sweep, curves.sort_values("x", kind="stable"))


def error_kinds(sweep: Sweep) -> pd.DataFrame:
    """Return TIDE's errors of the primary metric's task in points, with a row for each cell, a column for each kind."""
    task = sweep.primary_metric.split("/")[0]
    points = _with_cell(sweep, sweep.error_shift[sweep.error_shift["task"] == task])
    kinds = list(dict.fromkeys(points["kind"]))
    means = points.groupby(["cell", "kind"], sort=False)["value"].mean().unstack("kind")
    return means.reindex(index=_order(sweep, means.index), columns=kinds)


def class_differences(sweep: Sweep, most: int = 20) -> pd.DataFrame | None:
    """Return mean paired differences of each class's AP in points, with a row for each cell.

    Args:
        sweep: The sweep.
        most: Number of classes, those first that differ most.

    Returns:
        None with a single class or without a baseline.
    """
    prefix = f"{sweep.primary_metric.split('/')[0]}/AP-"
    differences = {
        metric.removeprefix(prefix): {
            estimate_name(sweep, e): e.difference
            for e in estimate(sweep.runs, grouping(sweep), metric)
            if e.difference is not None
        }
        for metric in sweep.metrics
        if metric.startswith(prefix)
    }
    table = pd.DataFrame(differences).dropna(axis=1, how="all")
    if table.empty or table.shape[1] < 2:
        return None
    largest = table.abs().max().sort_values(ascending=False, kind="stable").index[:most]
    return table.loc[_order(sweep, table.index), largest]


def costs(sweep: Sweep) -> pd.DataFrame:
    """Return each training's costs as multiples of the baselines' mean: cell, what, value."""
    trainings = sweep.cost[sweep.cost["phase"] == "train"].drop_duplicates("id").set_index("id")
    runs = sweep.runs.assign(cell=cell_names(sweep)).drop_duplicates(["training_id", "cell"])
    quiet = runs["training_id"][runs[SIGMA] == 0]
    parts = []
    for column, what in (("iteration_seconds", "time of an iteration"), ("peak_memory", "peak memory")):
        reference = trainings[column].reindex(quiet).mean()
        ratios = runs["training_id"].map(trainings[column]) / reference
        parts.append(pd.DataFrame({"cell": runs["cell"], "what": what, "value": ratios}).dropna())
    return _in_order(sweep, pd.concat(parts, ignore_index=True))


def _cell_name(values: Mapping[Any, Any], factors: Sequence[str]) -> str:
    is_quiet = values[SIGMA] == 0
    named = [
        f"{factor.rsplit('.', 1)[-1]} {format_value(format_factor(values[factor]))}"
        for factor in factors
        if not (is_quiet and is_noise(factor))
    ]
    return ", ".join([BASELINE, *named] if is_quiet else named)


def _grid_points(sweep: Sweep) -> pd.DataFrame:
    """Return the primary metric of each model under the noise grid, as Sweep.grid, and at test sigma 0.

    The column test names the test noise. A model that has a run without noise in evaluation and one with it met the
    same grid twice; the former counts.
    """
    metric, keys = sweep.primary_metric, _keys(sweep)
    points = sweep.grid[sweep.grid["metric"] == metric]
    if points.empty:
        return points.assign(test="")
    noisy = sweep.levels["id"][sweep.levels["phase"] == "eval"]
    runs = sweep.scored.drop_duplicates(keys)
    is_clean = ~runs["run_id"].isin(noisy)
    counted = is_clean | ~runs["training_id"].isin(runs["training_id"][is_clean])
    points = points.merge(runs.loc[counted, keys], on=keys)
    if not (points["test_sigma"] == 0).any():
        tests = points[[*keys, *_OTHER_TESTS]].drop_duplicates()
        clean = runs.loc[is_clean, [*keys, metric]].merge(tests, on=keys).rename(columns={metric: "value"})
        points = pd.concat([clean.assign(test_sigma=0.0, draw=0, metric=metric), points], ignore_index=True)
    varied = [name for name in _OTHER_TESTS if points[name].nunique() > 1] + ["test_sigma"]
    return points.assign(test=[", ".join(map(format_value, row)) for row in points[varied].itertuples(index=False)])


def _test_names(points: pd.DataFrame) -> list[str]:
    """Return the names of the test noises by type, levels and sigma."""
    return list(dict.fromkeys(points.sort_values([*_OTHER_TESTS, "test_sigma"], kind="stable")["test"]))


def _keys(sweep: Sweep) -> list[str]:
    """Return the columns that identify a run."""
    return ["run_id", "sweep"] if "sweep" in sweep.runs else ["run_id"]


def _with_cell(sweep: Sweep, points: pd.DataFrame) -> pd.DataFrame:
    """Add the cell of each run's points; a run that cells share counts in each."""
    keys = _keys(sweep)
    return sweep.runs.assign(cell=cell_names(sweep))[[*keys, "cell"]].drop_duplicates().merge(points, on=keys)


def _order(sweep: Sweep, cells: Any) -> list[str]:
    present = set(cells)
    return [name for name in dict.fromkeys(cell_names(sweep)) if name in present]


def _in_order(sweep: Sweep, points: pd.DataFrame) -> pd.DataFrame:
    places = {name: place for place, name in enumerate(_order(sweep, points["cell"]))}
    return points.sort_values("cell", key=lambda cells: cells.map(places), kind="stable", ignore_index=True)
