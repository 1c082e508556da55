"""The main table of a sweep as text: a row for each cell of the grid, numbers rounded as they are shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablation.report.loading.factors import SIGMA, format_value, is_noise
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.decision import Verdict
from ablation.report.statistics.estimates import Estimate, estimate
from ablation.report.statistics.findings import Findings, grouping, shown_factors
from ablation.report.statistics.paired import MeanInterval
from ablation.report.statistics.power import minimum_detectable_effect

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class Grid:
    """A table of text. names: how many columns from the left are names; the others are numbers or remarks."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int


def results(findings: Findings) -> Grid:
    """Factors, n, metrics, difference and interval; p values once anything was tested.

    A baseline that cells share stands once.
    """
    sweep, outcome = findings.sweep, findings.outcome
    factors, metrics = shown_factors(sweep), _shown_metrics(sweep)
    others = {m: estimate(sweep.runs, grouping(sweep), m) for m in metrics if m != sweep.primary_metric}
    columns = others | {sweep.primary_metric: list(outcome.estimates)}
    is_tested = outcome.decision.tested > 0
    rows: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    for index, main in enumerate(outcome.estimates):
        names = _row_names(main, factors)
        values = [columns[metric][index].value for metric in metrics]
        row = [
            *names,
            _count(main),
            *map(format_score, values),
            _difference(main),
            format_interval(main.difference_interval),
        ]
        row += _tests(main) if is_tested else []
        if main.n >= rows.get(tuple(names), (0, row))[0]:  # a grown grid may ask more seeds of one type's baseline
            rows[tuple(names)] = main.n, row
    header = [*factors, "n", *metrics, "difference", "95 % interval"]
    header += ["p", "Holm p", "joint p", "detectable"] if is_tested else []
    return Grid(header, [row for _, row in rows.values()], len(factors))


def summary(findings: Findings) -> Group:
    """The main table for a terminal of 80 columns: factors, seeds, AP, difference to the baseline with interval."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid, metrics = results(findings), _shown_metrics(findings.sweep)
    heading = Text(f"{findings.sweep.name}: {progress(findings.sweep)}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=heading)
    difference = grid.names + 1 + len(metrics)
    for index, name in enumerate(grid.header[: difference + 1]):
        is_factor = index < grid.names
        title = _short(name, grid.header[: grid.names]) if is_factor else name
        table.add_column(Text(title), overflow="fold", no_wrap=not is_factor, justify="left" if is_factor else "right")
    for row in grid.rows:
        both = " ".join(row[difference : difference + 2]).strip()
        table.add_row(*map(Text, (*row[:difference], both)))
    return Group(table, Text(difference_note(findings), style="italic"))


def progress(sweep: Sweep) -> str:
    """How many cells have a result, and in what state the others are."""
    counts = Counter(sweep.runs["status"])
    rest = [f"{counts[s]} {s}" for s in ("failed", "interrupted", "running", "planned") if counts[s]]
    cells = "1 cell" if len(sweep.runs) == 1 else f"{len(sweep.runs)} cells"
    return ", ".join([f"{counts['completed']} of {cells} completed", *rest])


def difference_note(findings: Findings) -> str:
    """What the column of differences is, and what its intervals leave out."""
    intervals = [e.difference_interval for e in findings.outcome.compared if e.difference_interval]
    caveats = dict.fromkeys(i.caveat for i in intervals if i.caveat)
    kind = "[95 % interval of each cell alone]" if intervals else "(no interval: it takes two seeds)"
    text = f"difference: {findings.sweep.primary_metric} minus that of the same seed at sigma 0, mean over seeds {kind}"
    return ". ".join([text, *(c.rstrip(".") for c in caveats)])


def format_interval(interval: MeanInterval | None) -> str:
    """Both ends of an interval, empty if there is none."""
    return f"[{interval.low:+.1f}, {interval.high:+.1f}]" if interval else ""


def format_p(p: float) -> str:
    """A p value with two digits, empty if there is none."""
    return "" if math.isnan(p) else f"{p:.2g}"


def p_values(verdict: Verdict) -> list[str]:
    """p of its own test, Holm's, and that of the joint test, which says what is claimed."""
    claim = " claimed" if verdict.is_claimed else ""
    return [format_p(verdict.p), format_p(verdict.p_holm), format_p(verdict.p_joint) + claim]


def _shown_metrics(sweep: Sweep) -> tuple[str, ...]:
    metrics = ("bbox/AP", "segm/AP", sweep.primary_metric)
    return tuple(dict.fromkeys(m for m in metrics if m in sweep.metrics or m == sweep.primary_metric))


def _row_names(e: Estimate, factors: Sequence[str]) -> list[str]:
    values = {SIGMA: e.sigma, **e.factors}
    return ["any" if e.is_baseline and is_noise(f) and f != SIGMA else format_value(values[f]) for f in factors]


def _count(e: Estimate) -> str:
    n = str(e.n) if e.n == e.asked else f"{e.n} of {e.asked}"
    return f"{n} ({e.pairs} paired)" if e.pairs not in (0, e.n) else n


def format_score(value: float | None) -> str:
    """A score with one decimal, a dash where it is missing."""
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"


def _difference(e: Estimate) -> str:
    if not e.n:
        return "no result"
    if e.is_baseline:
        return "baseline"
    return "no baseline" if e.difference is None else f"{e.difference:+.1f}"


def _tests(e: Estimate) -> list[str]:
    if e.verdict is None:
        return [""] * 4
    least = math.inf if e.sd is None else minimum_detectable_effect(e.sd, e.pairs)
    return [*p_values(e.verdict), "nothing" if math.isinf(least) else f"{least:.1f}"]


def _short(factor: str, among: Sequence[str]) -> str:
    last = factor.rsplit(".", 1)[-1]
    return last if [f.rsplit(".", 1)[-1] for f in among].count(last) == 1 else factor
