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
        name: Name of its files.
        section: Heading of the report above the figure; sections follow the order of this registry.
        title: A few words; {metric} is replaced by the primary metric.
        caption: What is drawn and how to read it; {metric} as above.
        draw: Returns the figure, or None if the records do not contain it.
        divergence: Added to the caption if trainings diverged and do not score 0; empty if the names of cells say it.
        is_kept: An earlier drawing stays if the figure cannot be drawn, because it shows more than the records.
    """

    name: str
    section: str
    title: str
    caption: str
    draw: Callable[[Findings], Figure | None]
    divergence: str = ""
    is_kept: bool = False


FIGURES = (
    FigureSpec(
        "metric_against_sigma",
        "Summary",
        "{metric} against noise.sigma",
        "Open marks: seeds. Line: mean over seeds. Bar: 95 % t interval over seeds, if there are at least two; it "
        "is cut at the edge of the panel. Shaded band: range of the baseline over its seeds; a mean inside it "
        "cannot be distinguished from repeated training by eye. Upper axis: SNR = -20 log10 sigma. Cells without a "
        "set sigma appear only in the table.",
        scores.metric_against_sigma,
        "Cross at the lower edge: a seed whose training diverged; line and bar are those of the other seeds.",
    ),
    FigureSpec(
        "differences",
        "Results",
        "seed-paired differences in {metric}",
        "Dot: mean difference from the baseline of the same seed. Upright marks: seeds. Line: 95 % interval of this "
        "cell alone, cut at the edge of the panel. Filled and orange: the joint test claims an effect.",
        differences.differences,
        "Where trainings diverged, the difference is that of the other seeds, and nothing is claimed from it.",
    ),
    FigureSpec(
        "levels",
        "Results",
        "differences by level and sigma",
        "Mean seed-paired difference in {metric} from the baseline, in points, with noise on this level only.",
        heatmaps.differences_by_level,
        "Places where a training diverged are empty.",
    ),
    FigureSpec(
        "losses",
        "Losses",
        "losses",
        "Thin: as logged (detectron2's medians over the logging period). Thick: running mean over an eighth of the "
        "curve, averaged over the seeds that got that far; band: their range. At most thirty strengths are drawn. "
        "The training loss is measured with the noise on, so a higher curve under noise does not mean a worse "
        "model. The loss on the test images, with the noise off, is drawn if evaluation.loss_period is set.",
        losses.losses,
    ),
    FigureSpec(
        "detections",
        "Detections",
        "detections on one test image",
        "Left: ground truth. Right: detections of the run with the lowest seed of each cell, under the run's own "
        "evaluation noise. At most four cells are drawn. runs/<run id>/pictures/ contains more.",
        detections.detections,
        is_kept=True,  # the pictures of the runs may have been deleted to save space
    ),
    FigureSpec(
        "test_matrix",
        "Robustness",
        "train by test matrix",
        "{metric}, mean over seeds and draws. Row: how a model was trained. Column: sigma of the noise in "
        "evaluation, with the same draws for every model. Read down a column for the effect of training, along a "
        "row for the effect of test noise.",
        heatmaps.train_by_test_matrix,
    ),
    FigureSpec(
        "test_noise",
        "Robustness",
        "robustness to feature noise",
        "{metric} against the sigma of the test noise, one line per way of training, mean over seeds and draws. "
        "mPFN in runs.csv is the mean along a line without sigma 0; rPFN is mPFN as a share of the clean AP. Of "
        "more than eighteen cells, sixteen are drawn.",
        cells.robustness_to_noise,
    ),
    FigureSpec(
        "corruptions",
        "Robustness",
        "robustness to image corruptions",
        "{metric} against the severity of the corruption (Michaelis et al., 2019), one line per way of training, "
        "mean over seeds; severity 0 is the clean image. mPC in runs.csv is the mean over corruptions and "
        "severities; rPC is mPC as a share of the clean AP.",
        cells.robustness_to_corruptions,
    ),
    FigureSpec(
        "error_shift",
        "Kinds of error",
        "kinds of error",
        "TIDE: the gain in AP50 if all errors of one kind were fixed (wrong class, wrong place, both, duplicate, "
        "background, missed; all false positives, all false negatives), mean over seeds. The gains do not sum to "
        "100 - AP50, and they do not rank models.",
        cells.error_kinds,
    ),
    FigureSpec(
        "classes",
        "Classes",
        "differences by class",
        "Mean seed-paired difference in the AP of each class from the baseline, in points. The classes that differ "
        "most are shown, at most twenty. Not tested: among many classes some differ by chance.",
        heatmaps.differences_by_class,
        "Where trainings diverged, the difference is that of the other seeds.",
    ),
    FigureSpec(
        "cost",
        "Cost",
        "what the noise costs",
        "Ring: a training. Orange: their mean. Median time of an iteration and peak memory (of the GPU, or of the "
        "process on a CPU), as multiples of the mean of the baselines. Other work on the machine also affects them.",
        cells.cost,
    ),
)
