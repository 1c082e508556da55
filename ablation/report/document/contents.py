"""The order and content of a report's sections."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from ablation.report.document.answer import compose_answer
from ablation.report.document.blocks import Block, Code, FigureBlock, Files, Heading, Listing, Paragraph, ReportDocument
from ablation.report.document.formatting import TextTable, format_interval, format_score
from ablation.report.document.tables import build_results_table, build_trend_table, difference_note
from ablation.report.figures.catalog import FIGURES, FigureSpec
from ablation.report.loading.factors import SIGMA, format_value
from ablation.report.loading.index import Problem
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics import summaries
from ablation.report.statistics.decision import Decision
from ablation.report.statistics.estimates import Estimate
from ablation.report.statistics.findings import Findings, shown_factors
from ablation.report.statistics.verdicts import TestResults, aggregate_estimates

_SURVIVORS = (
    "Differences and means of its cell are those of the other seeds, and nothing is claimed from them: neither the "
    "cell nor the trend of its family is tested. evaluation.diverged=zero lets diverged seeds score 0 instead."
)
_SCORED_ZERO = "Seeds whose training diverged score 0 (evaluation.diverged=zero)."


def compose_document(findings: Findings, figures: Collection[str], files: Mapping[str, str]) -> ReportDocument:
    """Return the report of a sweep.

    Args:
        findings: The sweep and its test results.
        figures: Names of the figures that were drawn.
        files: Description of each file beside the report, by name.
    """
    sweep = findings.sweep
    metric = sweep.primary_metric

    def figures_of(section: str) -> list[Block]:
        specs = [spec for spec in FIGURES if spec.section == section and spec.name in figures]
        return [FigureBlock(s.name, s.title.format(metric=metric), caption(s).format(metric=metric)) for s in specs]

    def caption(spec: FigureSpec) -> str:
        if not sweep.diverged or not spec.divergence:
            return spec.caption
        return f"{spec.caption} " + (_SCORED_ZERO if sweep.diverged_rule == "zero" else spec.divergence)

    blocks: list[Block] = []
    if metric != sweep.named_metric:
        blocks.append(Paragraph(f"No run measured the primary metric {sweep.named_metric}; {metric} is used instead."))
    blocks += figures_of("Summary")
    blocks += [Heading("Results"), build_results_table(findings), Paragraph(difference_note(findings) + ".")]
    blocks += [*_tests(findings.outcome.decision), *figures_of("Results"), *_all_cells_together(findings.outcome)]
    for section in dict.fromkeys(spec.section for spec in FIGURES if spec.section not in ("Summary", "Results")):
        text = _robustness(sweep) if section == "Robustness" else []
        if drawn := figures_of(section):
            text = text or [Heading(section)]
        blocks += [*text, *drawn]
    blocks += [*_realised_noise(sweep), *_diverged(sweep), *_missing_cells(sweep), *_provenance(sweep, files)]
    return ReportDocument(sweep.name, compose_answer(findings), blocks)


def _tests(decision: Decision) -> list[Block]:
    if not decision.tested:
        return []
    columns = Paragraph(
        f"p: exact sign-flip test of this cell alone. joint p: one test of all {decision.tested} cells and trends; an "
        f"effect is claimed if it is below {decision.alpha:g}. Holm p: for comparison only. detectable: the effect in "
        "points that a test of this cell alone detects with 80 % power, given the spread of this cell over seeds."
    )
    if not decision.trends:
        return [columns]
    trends = Paragraph(
        "A straight line is fitted to the differences of each seed, with 0 for the baseline; the lines are averaged "
        "over seeds. The interval is that of the change from sigma 0 to the highest sigma, for this trend alone."
    )
    return [columns, Heading("Trends over sigma"), build_trend_table(decision), trends]


def _all_cells_together(outcome: TestResults) -> list[Block]:
    estimates = aggregate_estimates(outcome)
    if estimates is None:
        return []
    rows = [
        [name, f"{value:{form}}", f"[{low:{form}}, {high:{form}}]"] for name, value, low, high, form in estimates.rows
    ]
    note = (
        f"{estimates.cells} cells with noise, {estimates.seeds} seeds of each. Differences from the baseline of the "
        "same seed, in points. IQM: interquartile mean, the mean of the middle half. Probability of improvement: the "
        "probability that a run with noise beats the baseline of its seed. Intervals: stratified bootstrap over seeds, "
        "which all cells share (Agarwal et al., 2021). This is a description, not a test: opposite effects cancel."
    )
    if len(outcome.complete) < len(outcome.compared):
        note += " Cells in which a training diverged are left out."
    table = TextTable(["statistic", "value", "95 % interval"], rows, 1)
    return [Heading("All cells together"), table, Paragraph(note)]


def _robustness(sweep: Sweep) -> list[Block]:
    """Return tables of AP under test noise and corruptions: the train by test matrix and its summaries."""
    matrix = summaries.train_by_test(sweep)
    if matrix is None and sweep.corruptions.empty:
        return []
    blocks: list[Block] = [Heading("Robustness")]
    if matrix is not None:
        blocks.append(_score_table(matrix.add_prefix("test ")))
        if differences := summaries.test_differences(sweep):
            blocks.append(_test_difference_table(differences, list(matrix.columns)))
            note = (
                "Differences from the baseline under the same test noise, in points, mean over seeds [95 % interval "
                "over seeds of each entry alone]. They show whether training with noise makes a model robust. They are "
                "not tested, and nothing is claimed from them."
            )
            blocks.append(Paragraph(note))
    note = (
        "Percent, mean over seeds and draws. mPFN: mean AP over the test noise above sigma 0. rPFN: mPFN as a share of "
        "the AP without test noise. mPC and rPC: the same for corrupted images. grid.csv and corruptions.csv hold all "
        "numbers."
    )
    return [*blocks, _score_table(summaries.robustness(sweep)), Paragraph(note)]


def _score_table(scores: pd.DataFrame) -> TextTable:
    rows = [[str(cell), *map(format_score, values)] for cell, *values in scores.itertuples(name=None)]
    return TextTable(["trained with", *scores.columns], rows, 1)


def _test_difference_table(differences: Mapping[str, Mapping[str, Estimate]], tests: Sequence[str]) -> TextTable:
    rows = []
    for cell, by_test in differences.items():
        rows.append([cell, *(_test_difference(by_test[test]) if test in by_test else "-" for test in tests)])
    return TextTable(["minus the baseline", *(f"test {test}" for test in tests)], rows, 1)


def _test_difference(e: Estimate) -> str:
    label = f"({e.divergence})" if e.divergence else ""
    return " ".join(filter(None, (f"{e.difference:+.1f}", format_interval(e.difference_interval), label)))


def _realised_noise(sweep: Sweep) -> list[Block]:
    """Return the measured SNR per level, the mean over the distinct trainings or runs of each cell."""
    levels = sweep.levels.dropna(subset=["snr_db"]).drop_duplicates(["phase", "id", "level"])
    if levels.empty:
        return []
    names, factors = sorted(levels["level"].unique()), list(shown_factors(sweep))
    rows = []
    for phase, id_column in (("train", "training_id"), ("eval", "run_id")):
        cells = sweep.runs[list(dict.fromkeys([*factors, SIGMA, id_column]))].drop_duplicates()
        measured = levels.loc[levels["phase"] == phase, ["id", "level", "snr_db"]]
        cells = cells[cells[SIGMA] != 0].merge(measured, left_on=id_column, right_on="id")
        means = cells.groupby([*factors, "level"], sort=False, dropna=False)["snr_db"].mean().unstack("level")
        for key, *snrs in means.reindex(columns=names).itertuples(name=None):
            values = key if isinstance(key, tuple) else (key,)
            # Adding 0.0 turns -0.0 into 0.0.
            texts = ["" if math.isnan(snr) else f"{round(snr, 1) + 0.0:.1f}" for snr in snrs]
            rows.append([*map(format_value, values), phase, *texts])
    note = "SNR in dB at each level, measured while the noise was active (training or evaluation), mean over seeds."
    table = TextTable([*factors, "phase", *names], rows, len(factors) + 1)
    return [Heading("Realised noise"), Paragraph(note), table]


def _diverged(sweep: Sweep) -> list[Block]:
    if not sweep.diverged:
        return []
    rule = _SCORED_ZERO if sweep.diverged_rule == "zero" else _SURVIVORS
    note = f"A training that diverged is a result: repeating the command does not train it again. {rule}"
    return [Heading("Diverged runs"), Paragraph(note), _problem_table(sweep, sweep.diverged)]


def _problem_table(sweep: Sweep, problems: Sequence[Problem]) -> TextTable:
    factors, rows = shown_factors(sweep), []
    for problem in problems:
        # Cells that share the run are one row, with all values of the factors that they differ in.
        cells = sweep.runs[sweep.runs["run_id"] == problem.run_id]
        if "sweep" in cells:
            cells = cells[cells["sweep"] == problem.sweep]
        values = [", ".join(dict.fromkeys(map(format_value, cells[f]))) for f in (*factors, "seed")]
        rows.append([*values, problem.status, problem.reason, problem.advice, problem.log])
    header = [*factors, "seed", "status", "reason", "what to do", "log"]
    return TextTable(header, rows, len(header))


def _missing_cells(sweep: Sweep) -> list[Block]:
    factors = list(shown_factors(sweep))
    blocks: list[Block] = [Heading("Failed and missing cells")]
    if sweep.failures:
        blocks.append(_problem_table(sweep, sweep.failures))
    unfinished = sweep.runs[sweep.runs["status"].isin(["planned", "running"])]
    if not unfinished.empty:
        header = [*factors, "status", "seeds"]
        texts = unfinished.rename(columns={"seed": "seeds"})[header].map(format_value)
        seeds = texts.groupby(header[:-1], sort=False)["seeds"].agg(", ".join).reset_index()
        blocks += [Paragraph("Not finished yet:"), TextTable(header, seeds.to_numpy().tolist(), len(header))]
    if sweep.refusals:
        blocks += [Paragraph("Cells of the last command that cannot run:"), Listing(sweep.refusals)]
    if len(blocks) == 1:
        blocks.append(Paragraph("None: every requested cell has a result."))
    if sweep.remarks:
        blocks += [Heading("Remarks"), Listing([f"{r.run_id}: {r.reason}" for r in sweep.remarks])]
    return blocks


def _provenance(sweep: Sweep, files: Mapping[str, str]) -> list[Block]:
    blocks: list[Block] = [Heading("What this report is computed from"), Files(list(files.items()))]
    if sweep.data:
        blocks += [Paragraph("Data:"), Listing(sweep.data)]
    if sweep.commands:
        blocks += [Paragraph("Commands:"), Code("\n".join(sweep.commands))]
    if sweep.reruns:
        run_id, command = next(iter(sweep.reruns.items()))
        blocks += [Paragraph(f"To repeat one run, here {run_id} (commands.csv has a command for every run):")]
        blocks += [Code(command)]
    if sweep.versions:
        rows = []
        for name, values in sweep.versions.items():
            listed = "; ".join(values[:4]) + (f"; and {len(values) - 4} others" if len(values) > 4 else "")
            rows.append([name, f"differs: {listed}" if len(values) > 1 else listed])
        blocks.append(TextTable(["what", "value"], rows, 2))
    command = shlex.join(["python", "-m", "ablation.report", *map(str, sweep.folders)])
    return [*blocks, Paragraph("To rebuild this report:"), Code(command)]
