"""The registry of figures: an entry is all that a figure needs to appear in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from ablation.report.figures import cells, detections, differences, heatmaps, losses, scores
from ablation.report.statistics.findings import Findings


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the report.

    Attributes:
        name: of its files.
        section: the heading of the report under which it stands, by order of this registry.
        title: a few words; {metric} stands for the primary metric.
        caption: one to four sentences; {metric} as above.
        draw: returns the figure, or None where the records cannot show it.
    """

    name: str
    section: str
    title: str
    caption: str
    draw: Callable[[Findings], Figure | None]


FIGURES = (
    FigureSpec(
        "metric_against_sigma",
        "Summary",
        "{metric} against noise.sigma",
        "Every open mark is one seed, the line is their mean, the bar its 95 % t interval over seeds (two seeds or "
        "more; it is cut where it would leave the panel). The shaded band is the range of the baseline over its seeds: "
        "a mean within it cannot be told from repeated training by eye. Upper axis: SNR = -20 log10 sigma. Cells whose "
        "sigma is only measured are in the table alone.",
        scores.metric_against_sigma,
    ),
    FigureSpec(
        "differences",
        "Results",
        "seed-paired differences in {metric}",
        "Dot: mean of the differences to the baseline of the same seed; upright marks: each seed; line: 95 % interval "
        "of this cell alone, cut where it would leave the panel. Filled and orange: the joint test claims an effect.",
        differences.differences,
    ),
    FigureSpec(
        "levels",
        "Results",
        "differences by level and sigma",
        "Mean seed-paired difference in {metric} to the baseline, in points, for noise on these levels alone.",
        heatmaps.differences_by_level,
    ),
    FigureSpec(
        "losses",
        "Losses",
        "losses",
        "Thin: as logged (detectron2's medians over the logging period). Thick: running mean over an eighth of the "
        "curve, averaged over the seeds that got that far; the band is their range (of many strengths, thirty at even "
        "distances). The training loss is measured with "
        "the noise on, so a higher curve under noise is no evidence of a worse model; the loss on the test images, "
        "with the noise off, is there where evaluation.loss_period asked for it.",
        losses.losses,
    ),
    FigureSpec(
        "detections",
        "Detections",
        "detections on one test image",
        "Left: ground truth. Right: what was found, by the run of the lowest seed of each cell (of four cells at even "
        "distances, where there are more), under the run's own evaluation noise. runs/<run id>/pictures/ has more.",
        detections.detections,
    ),
    FigureSpec(
        "test_matrix",
        "Robustness",
        "train by test matrix",
        "{metric}, the mean over seeds and draws. A row is how a model was trained, a column the sigma of the noise "
        "that it meets in evaluation, the same draws for every model. Down a column: what the training changed; along "
        "a row: what the test noise costs.",
        heatmaps.train_by_test_matrix,
    ),
    FigureSpec(
        "test_noise",
        "Robustness",
        "robustness to feature noise",
        "{metric} against the sigma of the test noise, one line for each way of training, means over seeds and draws. "
        "mPFN in runs.csv is the mean along a line without its start, rPFN its share of the clean AP. Of more than "
        "eighteen cells, sixteen at even distances are drawn.",
        cells.robustness_to_noise,
    ),
    FigureSpec(
        "corruptions",
        "Robustness",
        "robustness to image corruptions",
        "{metric} against the severity of the corruption (Michaelis et al., 2019), one line for each way of training, "
        "means over seeds; 0 is the clean image. mPC in runs.csv is the mean over corruptions and severities, rPC its "
        "share of the clean AP.",
        cells.robustness_to_corruptions,
    ),
    FigureSpec(
        "error_shift",
        "Kinds of error",
        "kinds of error",
        "TIDE: by how much AP50 would rise if all errors of one kind were mended (wrong class, wrong place, both, "
        "found twice, background, missed; all false positives, all false negatives), means over seeds. The parts do "
        "not sum to 100 - AP50, and they do not rank models.",
        cells.error_kinds,
    ),
    FigureSpec(
        "classes",
        "Classes",
        "differences by class",
        "Mean seed-paired difference in AP of each class to the baseline, in points; the classes that differ most, at "
        "most twenty. Not tested: with many classes some differ by chance.",
        heatmaps.differences_by_class,
    ),
    FigureSpec(
        "cost",
        "Cost",
        "what the noise costs",
        "Each ring is a training, the orange mark their mean: median time of an iteration and peak memory (of the "
        "device on a GPU, of the process elsewhere) as multiples of the baselines' mean. Other work on the machine "
        "counts too.",
        cells.cost,
    ),
)
