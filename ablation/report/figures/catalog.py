"""The figures of a report: which there are, and which of a sweep's factors goes where."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ablation.records.paths import SweepPaths
from ablation.report.figures import charts, plots
from ablation.report.figures.style import Layout, small_multiples, subsample_evenly
from ablation.report.loading.factors import SIGMA, is_noise
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics import summaries
from ablation.report.statistics.estimates import Range, as_frame, baseline_spread, estimate, is_strength
from ablation.report.statistics.findings import Findings
from ablation.report.statistics.summaries import cell_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    *("metric_against_sigma", "differences", "levels", "losses"),
    *("detections", "test_matrix", "test_noise", "corruptions", "error_shift", "classes", "cost"),
)
_MOST_ROWS = 60  # more would be a poster; the tables hold them all
_MOST_CELLS = 24
_MOST_PICTURES = 4
_MOST_POINTS = 200_000
_LOSSES = {"total_loss": "training loss, noise on", "validation/total_loss": "loss on test images, noise off"}


def figures(findings: Findings) -> Iterable[tuple[str, Figure]]:
    """Name and figure of all that the records can show."""
    sweep = findings.sweep
    sigmas = sweep.completed[SIGMA]
    # Where every noise is set by its type's own parameters, only the baseline has a place on the axis of sigma.
    if sweep.primary_metric in sweep.metrics and ((sigmas > 0).any() or sigmas.notna().all()):
        yield "metric_against_sigma", _metric_figure(sweep)
    if 1 < len(rows := _intervals(findings)) <= _MOST_ROWS:
        yield "differences", charts.forest(rows, sweep.primary_metric)
    if (levels := summaries.by_level(findings)) is not None:
        yield (
            "levels",
            charts.heat_map(levels, str(levels.columns.name), f"difference in {sweep.primary_metric}", is_signed=True),
        )
    curves = sweep.curves[sweep.curves["metric"].isin(_LOSSES)]
    if not curves.empty:
        yield "losses", _loss_figure(sweep, curves)
    if examples := pictures(sweep, _MOST_PICTURES):
        yield "detections", charts.gallery(examples)
    yield from _robustness_figures(sweep)
    yield from _cost_figures(sweep)


def _robustness_figures(sweep: Sweep) -> Iterable[tuple[str, Figure]]:
    metric = sweep.primary_metric
    matrix = summaries.train_by_test(sweep)
    if matrix is not None and matrix.shape[1] > 1:
        if len(matrix) <= _MOST_CELLS:
            yield "test_matrix", charts.heat_map(matrix, "test noise, sigma", f"{metric} [%]")
        yield "test_noise", charts.cell_lines(summaries.test_curves(sweep), "test", metric, "sigma of the test noise")
    if not sweep.corruptions.empty:
        yield "corruptions", charts.cell_lines(summaries.corruption_curves(sweep), "corruption", metric, "severity")
    if not sweep.error_shift.empty and not (kinds := summaries.error_kinds(sweep)).empty:
        yield "error_shift", charts.kind_dots(kinds, "points of AP50")
    classes = summaries.class_differences(sweep)
    if classes is not None and len(classes) <= _MOST_CELLS:
        yield "classes", charts.heat_map(classes, "class", "difference in AP", is_signed=True)


def _cost_figures(sweep: Sweep) -> Iterable[tuple[str, Figure]]:
    points = summaries.costs(sweep)
    if 1 < points["cell"].nunique() <= _MOST_ROWS:
        yield "cost", charts.ratio_dots(points)


def _intervals(findings: Findings) -> list[charts.Interval]:
    sweep = findings.sweep
    return [
        charts.Interval(
            name=summaries.estimate_name(sweep, e),
            value=e.difference,
            low=e.difference_interval.low if e.difference_interval else None,
            high=e.difference_interval.high if e.difference_interval else None,
            points=list(e.differences.values()),
            is_claimed=e.verdict is not None and e.verdict.is_claimed,
        )
        for e in findings.outcome.compared
        if e.difference is not None
    ]


def _metric_figure(sweep: Sweep) -> Figure:
    metric, rows = sweep.primary_metric, sweep.runs[sweep.runs[SIGMA].notna()]
    factors = [f for f in sweep.varied if f != SIGMA and rows[f].map(str).nunique() > 1]
    factors = [f for f in factors if not is_strength(rows, f)]
    means = as_frame(estimate(rows, (*factors, SIGMA), metric))
    layout = Layout.of(factors)
    panel = [f for f in (layout.across, *layout.down) if f]
    sigmas = sorted(set(sweep.completed[SIGMA].dropna()))

    def draw(runs: pd.DataFrame, ax: Any) -> None:
        here = means.merge(runs[panel].drop_duplicates()) if panel else means
        plots.metric_against_sigma(runs, here, metric, layout.hue, _bands(runs, metric, layout.hue), sigmas, ax)

    return small_multiples(rows, layout, draw, layout.hue or "")


def _bands(runs: pd.DataFrame, metric: str, hue: str | None) -> dict[Any, Range]:
    """The null band of a panel: one for all hues where they share the baseline, one for each where they do not."""
    parts = {None: runs} if hue is None or is_noise(hue) else dict(list(runs.groupby(hue, sort=False)))
    spreads = {value: baseline_spread(part, metric) for value, part in parts.items()}
    return {value: found for value, found in spreads.items() if found}


def _loss_figure(sweep: Sweep, curves: pd.DataFrame) -> Figure:
    """The training loss, and beside it the validation loss where it was asked for."""
    factors = _training_factors(sweep)
    others = [f for f in factors if f != SIGMA]
    hue = SIGMA if SIGMA in factors else next(iter(others), None)
    if len(curves) > _MOST_POINTS:  # every nth logged iteration of all: more are not told apart
        iterations = np.sort(curves["iteration"].unique())
        curves = curves[curves["iteration"].isin(iterations[:: len(curves) // _MOST_POINTS + 1])]
    # A training id names its content: where two sweeps hold the same training, one of the copies is enough.
    points = curves.drop_duplicates(["training_id", "metric", "iteration"])
    points = points[["training_id", "iteration", "value"]].assign(loss=points["metric"].map(_LOSSES))
    labelled = sweep.runs[["training_id", *factors]].drop_duplicates().merge(points, on="training_id")
    kinds = ["loss"] if labelled["loss"].nunique() > 1 else []
    panels = [*kinds, *(f for f in others if f != hue)]
    layout = Layout(hue, panels[0] if panels else None, tuple(panels[1:]))

    def draw(part: pd.DataFrame, ax: Any) -> None:
        plots.loss_overlay(part, "total_loss", hue, ax)

    return small_multiples(labelled, layout, draw, hue or "")


def _training_factors(sweep: Sweep) -> list[str]:
    """The varied factors that change a training; noise.when=train,always shares one."""
    kept = list(sweep.varied)
    for factor in reversed(sweep.varied):
        rest = [f for f in kept if f != factor]
        if sweep.runs.groupby([*rest, "seed"], dropna=False)["training_id"].nunique().max() == 1:
            kept = rest
    return kept


def pictures(sweep: Sweep, most: int) -> list[tuple[str, Path]]:
    """For about `most` cells, by name, the picture of the same test image; empty where the runs left none in common."""
    folders: dict[str, Path] = {}
    for cell, row in zip(cell_names(sweep), sweep.runs.to_dict("records"), strict=True):
        for folder in sweep.folders:
            found = SweepPaths(folder).run(row["run_id"]).pictures
            if found.is_dir():
                folders.setdefault(cell, found)
    cells = subsample_evenly(list(folders), most)
    common = set.intersection(*({p.name for p in folders[cell].glob("*.png")} for cell in cells)) if cells else set()
    return [(cell, folders[cell] / min(common)) for cell in cells] if common else []


class Caption(NamedTuple):
    """title: a few words; text: one to four sentences. {metric} stands for the primary metric."""

    title: str
    text: str


CAPTIONS = {
    "metric_against_sigma": Caption(
        f"{{metric}} against {SIGMA}",
        "Every open mark is one seed, the line is their mean, the bar its 95 % t interval over seeds (two seeds or "
        "more; it is cut where it would leave the panel). The shaded band is the range of the baseline over its seeds: "
        "a mean within it cannot be told from repeated training by eye. Upper axis: SNR = -20 log10 sigma. Cells whose "
        "sigma is only measured are in the table alone.",
    ),
    "differences": Caption(
        "seed-paired differences in {metric}",
        "Dot: mean of the differences to the baseline of the same seed; upright marks: each seed; line: 95 % interval "
        "of this cell alone, cut where it would leave the panel. Filled and orange: the joint test claims an effect.",
    ),
    "levels": Caption(
        "differences by level and sigma",
        "Mean seed-paired difference in {metric} to the baseline, in points, for noise on these levels alone.",
    ),
    "losses": Caption(
        "losses",
        "Thin: as logged (detectron2's medians over the logging period). Thick: running mean over an eighth of the "
        "curve, averaged over the seeds that got that far; the band is their range (of many strengths, thirty at even "
        "distances). The training loss is measured with "
        "the noise on, so a higher curve under noise is no evidence of a worse model; the loss on the test images, "
        "with the noise off, is there where evaluation.loss_period asked for it.",
    ),
    "detections": Caption(
        "detections on one test image",
        "Left: ground truth. Right: what was found, by the run of the lowest seed of each cell (of four cells at even "
        "distances, where there are more), under the run's own evaluation noise. runs/<run id>/pictures/ has more.",
    ),
    "test_matrix": Caption(
        "train by test matrix",
        "{metric}, the mean over seeds and draws. A row is how a model was trained, a column the sigma of the noise "
        "that it meets in evaluation, the same draws for every model. Down a column: what the training changed; along "
        "a row: what the test noise costs.",
    ),
    "test_noise": Caption(
        "robustness to feature noise",
        "{metric} against the sigma of the test noise, one line for each way of training, means over seeds and draws. "
        "mPFN in runs.csv is the mean along a line without its start, rPFN its share of the clean AP. Of more than "
        "eighteen cells, sixteen at even distances are drawn.",
    ),
    "corruptions": Caption(
        "robustness to image corruptions",
        "{metric} against the severity of the corruption (Michaelis et al., 2019), one line for each way of training, "
        "means over seeds; 0 is the clean image. mPC in runs.csv is the mean over corruptions and severities, rPC its "
        "share of the clean AP.",
    ),
    "error_shift": Caption(
        "kinds of error",
        "TIDE: by how much AP50 would rise if all errors of one kind were mended (wrong class, wrong place, both, "
        "found twice, background, missed; all false positives, all false negatives), means over seeds. The parts do "
        "not sum to 100 - AP50, and they do not rank models.",
    ),
    "classes": Caption(
        "differences by class",
        "Mean seed-paired difference in AP of each class to the baseline, in points; the classes that differ most, at "
        "most twenty. Not tested: with many classes some differ by chance.",
    ),
    "cost": Caption(
        "what the noise costs",
        "Each ring is a training, the orange mark their mean: median time of an iteration and peak memory (of the "
        "device on a GPU, of the process elsewhere) as multiples of the baselines' mean. Other work on the machine "
        "counts too.",
    ),
}
