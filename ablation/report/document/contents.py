"""What stands in a report and in which order."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Sequence

from ablation.report.document.answer import answer, family_name
from ablation.report.document.blocks import Block, Code, FigureBlock, Files, Heading, Listing, Paragraph, ReportDocument
from ablation.report.document.tables import Grid, difference_note, format_interval, format_score, p_values, results
from ablation.report.figures.catalog import FIGURES, FigureSpec
from ablation.report.loading.factors import SIGMA, format_value
from ablation.report.loading.index import Problem
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics import summaries
from ablation.report.statistics.decision import Decision
from ablation.report.statistics.estimates import Estimate, aggregate_estimates
from ablation.report.statistics.findings import Findings, shown_factors


def compile_contents(findings: Findings, figures: Collection[str]) -> ReportDocument:
    """The report of a sweep. figures: the names of those that were drawn."""
    sweep = findings.sweep
    metric = sweep.primary_metric

    def figures_of(section: str) -> list[Block]:
        return [_figure(spec, metric) for spec in FIGURES if spec.section == section and spec.name in figures]

    blocks: list[Block] = []
    if metric != sweep.named_metric:
        blocks.append(Paragraph(f"No run measured the primary metric {sweep.named_metric}; {metric} stands in."))
    blocks += figures_of("Summary")
    blocks += [Heading("Results"), results(findings), Paragraph(difference_note(findings) + ".")]
    blocks += [*_tests(findings), *figures_of("Results"), *_together(findings)]
    for section in dict.fromkeys(spec.section for spec in FIGURES if spec.section not in ("Summary", "Results")):
        text = _robustness(sweep) if section == "Robustness" else []
        if drawn := figures_of(section):
            text = text or [Heading(section)]
        blocks += [*text, *drawn]
    blocks += [*_realised(sweep), *_missing(sweep), *_provenance(sweep)]
    return ReportDocument(sweep.name, answer(findings), blocks)


def _figure(spec: FigureSpec, metric: str) -> FigureBlock:
    return FigureBlock(spec.name, spec.title.format(metric=metric), spec.caption.format(metric=metric))


def _robustness(sweep: Sweep) -> list[Block]:
    """What is left of AP under test noise and corruption: the train by test matrix and its summaries, as text."""
    matrix = summaries.train_by_test(sweep)
    if matrix is None and sweep.corruptions.empty:
        return []
    blocks: list[Block] = [Heading("Robustness")]
    if matrix is not None:
        rows = [
            [str(cell), *map(format_score, values)]
            for cell, values in zip(matrix.index, matrix.to_numpy(), strict=True)
        ]
        blocks.append(Grid(["trained with", *(f"test {name}" for name in matrix.columns)], rows, 1))
        blocks += _test_differences(sweep, list(matrix.columns))
    robustness = summaries.robustness(sweep)
    rows = [
        [str(cell), *map(format_score, values)]
        for cell, values in zip(robustness.index, robustness.to_numpy(), strict=True)
    ]
    return [*blocks, Grid(["trained with", *map(str, robustness.columns)], rows, 1), Paragraph(_ROBUSTNESS_NOTE)]


def _test_differences(sweep: Sweep, tests: Sequence[str]) -> list[Block]:
    found = summaries.test_differences(sweep)
    if not found:
        return []
    rows = [[cell, *(_difference(by_test.get(test)) for test in tests)] for cell, by_test in found.items()]
    return [Grid(["minus the baseline", *(f"test {name}" for name in tests)], rows, 1), Paragraph(_TEST_NOTE)]


def _difference(one: Estimate | None) -> str:
    if one is None or one.difference is None:
        return "-"
    return f"{one.difference:+.1f} {format_interval(one.difference_interval)}".rstrip()


_TEST_NOTE = (
    "Points, means over the seeds of the difference to the baseline under the same test noise [95 % interval over "
    "seeds of each place alone]. They show whether training noise buys robustness; none of them is tested or claimed."
)


_ROBUSTNESS_NOTE = (
    "Percent, means over seeds and draws. mPFN: mean AP over the test noise above sigma 0; rPFN: its share of the AP "
    "without; mPC and rPC: the same over corrupted images. grid.csv and corruptions.csv hold every number."
)


def _tests(findings: Findings) -> list[Block]:
    decision = findings.outcome.decision
    if not decision.tested:
        return []
    note = (
        f"p: exact sign-flip test of this cell. joint p: of all {decision.tested} cells and trends in one test; below "
        f"{decision.alpha:g} an effect is claimed. Holm p: for comparison, decides nothing. detectable: the effect in "
        "points that this cell, tested alone, would have shown four times in five, by its own spread over seeds."
    )
    if not decision.trends:
        return [Paragraph(note)]
    return [Paragraph(note), Heading("Trends over sigma"), trends(decision), Paragraph(_TREND_NOTE)]


def trends(decision: Decision) -> Grid:
    """The dose response of each family of cells that differ in sigma alone."""
    rows = [
        [family_name(t), str(t.seeds), f"{t.slope:+.2f}", f"{t.effect:+.1f}", format_interval(t.interval), *p_values(t)]
        for t in decision.trends
    ]
    header = ["cells that differ in sigma alone", "n", "points per unit of sigma", "from sigma 0 to the highest"]
    return Grid([*header, "95 % interval", "p", "Holm p", "joint p"], rows, 1)


_TREND_NOTE = (
    "The mean over seeds of each seed's straight line through its differences, the baseline's 0 included. The interval "
    "is of the change from sigma 0 to the highest, over seeds, for this trend alone."
)


def _together(findings: Findings) -> list[Block]:
    """One number for all cells with noise, where there are several and each has all seeds."""
    found = aggregate_estimates(findings.outcome)
    if found is None:
        return []
    rows = [[name, f"{value:{form}}", f"[{low:{form}}, {high:{form}}]"] for name, value, low, high, form in found.rows]
    told = f"{found.cells} cells with noise, {found.seeds} seeds of each. {_TOGETHER_NOTE}"
    return [Heading("All cells together"), Grid(["what", "value", "95 % interval"], rows, 1), Paragraph(told)]


_TOGETHER_NOTE = (
    "Differences in points to the baseline of the same seed. IQM: the mean of their middle half. Probability of "
    "improvement: that a run with noise beats the baseline of its seed. Intervals: stratified bootstrap over seeds, "
    "which all cells share (Agarwal et al., 2021). They describe and claim nothing: cells of opposite effect cancel."
)


def _realised(sweep: Sweep) -> list[Block]:
    """SNR in dB per level, measured while the noise acted, mean over the distinct trainings or runs of a cell."""
    levels = (
        sweep.levels.dropna(subset=["snr_db"])
        .drop_duplicates(["phase", "id", "level"])
        .drop(columns="sweep", errors="ignore")
    )
    if levels.empty:
        return []
    names, factors = sorted(levels["level"].unique()), list(shown_factors(sweep))
    rows: list[list[str]] = []
    for phase, column in (("train", "training_id"), ("eval", "run_id")):
        cells = sweep.runs[list(dict.fromkeys([*factors, SIGMA, column]))].drop_duplicates()
        cells = cells[cells[SIGMA] != 0].merge(levels[levels["phase"] == phase], left_on=column, right_on="id")
        means = cells.groupby([*factors, "level"], sort=False, dropna=False)["snr_db"].mean().unstack("level")
        for key, found in means.iterrows():
            values = key if isinstance(key, tuple) else (key,)
            snrs = [found.get(name, float("nan")) for name in names]
            rows.append(
                [
                    *map(format_value, values),
                    phase,
                    *("" if math.isnan(s) else f"{round(s, 1) + 0.0:.1f}" for s in snrs),
                ]
            )
    note = "SNR in dB per level, measured while the noise acted (training or evaluation), mean over seeds."
    grid = Grid([*factors, "phase", *names], rows, len(factors) + 1)
    return [Heading("Realised noise"), Paragraph(note), grid]


def _missing(sweep: Sweep) -> list[Block]:
    factors = shown_factors(sweep)
    failed, waiting = [_failure_row(sweep, problem) for problem in sweep.failures], _waiting(sweep)
    blocks: list[Block] = [Heading("Failed and missing cells")]
    if failed:
        header = [*factors, "seed", "status", "reason", "what to do", "log"]
        blocks.append(Grid(header, failed, len(header)))
    if waiting:
        header = [*factors, "status", "seeds"]
        blocks += [Paragraph("Not finished yet:"), Grid(header, waiting, len(header))]
    if sweep.refusals:
        blocks += [Paragraph("Cells of the last command that cannot run:"), Listing(sweep.refusals)]
    if not failed and not waiting and not sweep.refusals:
        blocks.append(Paragraph("None: every cell that was asked for has a result."))
    if sweep.remarks:
        blocks += [Heading("Remarks"), Listing([f"{r.run_id}: {r.reason}" for r in sweep.remarks])]
    return blocks


def _failure_row(sweep: Sweep, problem: Problem) -> list[str]:
    """All cells that share the failed run in one row: the values that they have in common, or all of them."""
    cells = sweep.runs[sweep.runs["run_id"] == problem.run_id]
    if "sweep" in cells:
        cells = cells[cells["sweep"] == problem.sweep]
    values = [", ".join(dict.fromkeys(format_value(v) for v in cells[f])) for f in (*shown_factors(sweep), "seed")]
    return [*values, problem.status, problem.reason, problem.advice, problem.log]


def _waiting(sweep: Sweep) -> list[list[str]]:
    factors = list(shown_factors(sweep))
    rows = sweep.runs[sweep.runs["status"].isin(["planned", "running"])]
    seeds: dict[tuple[str, ...], list[str]] = {}
    for row in rows.to_dict("records"):
        key = (*(format_value(row[f]) for f in factors), str(row["status"]))
        seeds.setdefault(key, []).append(str(row["seed"]))
    return [[*key, ", ".join(found)] for key, found in seeds.items()]


def _provenance(sweep: Sweep) -> list[Block]:
    blocks: list[Block] = [Heading("What this was computed from"), Files(_FILES)]
    if sweep.data:
        blocks += [Paragraph("Data:"), Listing(sweep.data)]
    if sweep.commands:
        blocks += [Paragraph("Commands:"), Code("\n".join(sweep.commands))]
    if sweep.reruns:
        run_id, command = next(iter(sweep.reruns.items()))
        blocks += [Paragraph(f"A single run again, here {run_id}; commands.csv has all:"), Code(command)]
    if sweep.versions:
        blocks.append(Grid(["what", "value"], [[k, _values(v)] for k, v in sweep.versions.items()], 2))
    folders = [str(folder) for folder in sweep.folders]
    again = Code(shlex.join(["python", "-m", "ablation.report", *folders]))
    return [*blocks, Paragraph("This report is rebuilt by:"), again]


_FILES = (
    (
        "runs.csv",
        "one row per cell; its run_id and training_id name the folders below runs/ and trainings/ that hold the "
        "record, the resolved config.yaml and the log",
    ),
    ("curves.csv", "every logged number"),
    ("differences.csv", "every estimate, for every metric, unrounded"),
    ("commands.csv", "by run_id the command that computes it again"),
    ("tables.tex", "the tables of results and trends for a paper"),
)


def _values(values: Sequence[str]) -> str:
    listed = "; ".join(values[:4]) + (f"; and {len(values) - 4} others" if len(values) > 4 else "")
    return f"differs: {listed}" if len(values) > 1 else listed
