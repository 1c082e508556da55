"""The main table of a sweep as text: one row per cell of the grid, with rounded numbers."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from ablation.report.document.formatting import TextTable, format_interval, format_p, format_score
from ablation.report.loading.factors import SIGMA, format_value, is_noise
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.decision import Decision, TrendVerdict, Verdict
from ablation.report.statistics.estimates import Estimate, estimate
from ablation.report.statistics.findings import Findings, grouping, shown_factors
from ablation.report.statistics.power import minimum_detectable_effect

if TYPE_CHECKING:
    from rich.console import Group


def build_results_table(findings: Findings) -> TextTable:
    """Return the main table: factors, n, metrics, difference and interval; p values once anything was tested.

    A baseline that several cells share is listed once.
    """
    sweep, outcome = findings.sweep, findings.outcome
    factors = shown_factors(sweep)
    measured = [m for m in ("bbox/AP", "segm/AP") if m in sweep.metrics]
    metrics = list(dict.fromkeys((*measured, sweep.primary_metric)))
    estimates = {m: estimate(sweep.runs, grouping(sweep), m) for m in metrics if m != sweep.primary_metric}
    estimates[sweep.primary_metric] = list(outcome.estimates)
    is_tested = outcome.decision.tested > 0
    rows: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    for index, main in enumerate(outcome.estimates):
        values = {SIGMA: main.sigma, **main.factors}
        names = tuple(
            "any" if main.is_baseline and is_noise(f) and f != SIGMA else format_value(values[f]) for f in factors
        )
        scores = [format_score(estimates[metric][index].value) for metric in metrics]
        row = [*names, _count(main), *scores, _difference(main), format_interval(main.difference_interval)]
        row += _tests(main) if is_tested else []
        # A grown grid may hold more seeds of the baseline for one noise type than for another: show the most.
        if main.n >= rows.get(names, (0, row))[0]:
            rows[names] = main.n, row
    header = [*factors, "n", *metrics, "difference", "95 % interval"]
    header += ["p", "Holm p", "joint p", "detectable"] if is_tested else []
    return TextTable(header, [row for _, row in rows.values()], len(factors))


def build_trend_table(decision: Decision) -> TextTable:
    """Return the trend over sigma of each family, that is of the cells that differ only in sigma."""
    rows = [
        [family_name(t), str(t.seeds), f"{t.slope:+.2f}", f"{t.effect:+.1f}", format_interval(t.interval), *p_values(t)]
        for t in decision.trends
    ]
    header = ["cells that differ only in sigma", "n", "points per unit of sigma", "from sigma 0 to the highest"]
    return TextTable([*header, "95 % interval", "p", "Holm p", "joint p"], rows, 1)


def build_summary(findings: Findings) -> Group:
    """Return the main table for a terminal of 80 columns: factors, seeds, AP, and the difference with its interval."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    results = build_results_table(findings)
    factors, difference = results.header[: results.name_columns], list(results.header).index("difference")
    last_parts = [factor.rsplit(".", 1)[-1] for factor in factors]
    heading = Text(f"{findings.sweep.name}: {format_progress(findings.sweep)}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=heading)
    for factor, short in zip(factors, last_parts, strict=True):
        table.add_column(Text(short if last_parts.count(short) == 1 else factor), overflow="fold")
    is_labelled = any(e.divergence for e in findings.outcome.estimates)  # such differences need a second line
    for name in results.header[results.name_columns : difference + 1]:
        no_wrap = not (is_labelled and name == "difference")
        table.add_column(Text(name), overflow="fold", no_wrap=no_wrap, justify="right")
    for row in results.rows:
        with_interval = " ".join(row[difference : difference + 2]).strip()
        table.add_row(*map(Text, (*row[:difference], with_interval)))
    return Group(table, Text(difference_note(findings), style="italic"))


def difference_note(findings: Findings) -> str:
    """Explain the column of differences and what its intervals do not cover."""
    intervals = [e.difference_interval for e in findings.outcome.compared if e.difference_interval]
    caveats = dict.fromkeys(i.caveat for i in intervals if i.caveat)
    kind = "[95 % interval of each cell alone]" if intervals else "(no interval: at least two seeds are needed)"
    metric = findings.sweep.primary_metric
    if not any(e.n for e in findings.outcome.estimates):
        return f"difference: none, because {metric} has no value in any run"
    if findings.images == 1:
        caveats["With one test image, no interval covers the choice of test images; two are needed."] = None
    text = f"difference: {metric} minus {metric} of the baseline (sigma 0) with the same seed, mean over seeds {kind}"
    return ". ".join([text, *(c.rstrip(".") for c in caveats), *_rules_for_diverged(findings)])


def _rules_for_diverged(findings: Findings) -> list[str]:
    estimates = findings.outcome.estimates
    rules = {
        "diverged: numbers are those of the other seeds, and nothing is claimed from them": any(
            e.is_partial for e in estimates
        ),
        "scored 0: seeds whose training diverged count as 0 (evaluation.diverged=zero)": any(
            e.divergence and not e.is_partial for e in estimates
        ),
    }
    return [rule for rule, applies in rules.items() if applies]


def family_name(trend: TrendVerdict) -> str:
    """Return the name of a trend's family; the family of a sweep of sigma alone has none of its own."""
    return trend.family or "all cells"


def format_progress(sweep: Sweep) -> str:
    """Return how many cells have a result, and the states of the others."""
    counts = Counter(sweep.runs["status"])
    rest = [f"{counts[s]} {s}" for s in ("diverged", "failed", "interrupted", "running", "planned") if counts[s]]
    cells = "1 cell" if len(sweep.runs) == 1 else f"{len(sweep.runs)} cells"
    return ", ".join([f"{counts['completed']} of {cells} completed", *rest])


def p_values(verdict: Verdict) -> list[str]:
    """Return the p value of the hypothesis alone, after Holm, and of the joint test, which decides the claim."""
    claim = " claimed" if verdict.is_claimed else ""
    return [format_p(verdict.p), format_p(verdict.p_holm), format_p(verdict.p_joint) + claim]


def _count(e: Estimate) -> str:
    seeds = e.n or e.finished  # where no run measured this metric, the other columns are means over these
    n = str(seeds) if seeds == e.asked else f"{seeds} of {e.asked}"
    return f"{n} ({e.pairs} paired)" if e.pairs not in (0, e.n) else n


def _difference(e: Estimate) -> str:
    label = f" ({e.divergence})" if e.divergence else ""
    if not e.n:
        if e.diverged:
            return f"diverged {e.diverged} of {e.asked}"
        return f"no {e.metric}" if e.finished else "no result"
    if e.is_baseline:
        return f"baseline{label}"
    return f"no baseline{label}" if e.difference is None else f"{e.difference:+.1f}{label}"


def _tests(e: Estimate) -> list[str]:
    if e.verdict is None:
        return [""] * 4
    smallest = math.inf if e.sd is None else minimum_detectable_effect(e.sd, e.pairs)
    return [*p_values(e.verdict), "nothing" if math.isinf(smallest) else f"{smallest:.1f}"]
