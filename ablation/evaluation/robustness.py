"""Robustness to noise and to corruption: the mean AP, and its share of the clean AP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ablation.records.schema import CorruptionScore, GridScore

Metrics = Mapping[str, float | None]


def under_noise(grid: Sequence[GridScore], clean: Metrics | None, tasks: Sequence[str]) -> dict[str, float | None]:
    """Return mPFN, the mean AP over the grid's noisy cells, and rPFN, its share of the clean AP in percent.

    They are to noise in the features what mPC and rPC are to corrupted images.
    """
    return _summary([cell.metrics for cell in grid if cell.sigma > 0], clean or {}, tasks, "PFN")


def under_corruption(
    corruptions: Sequence[CorruptionScore], clean: Metrics, tasks: Sequence[str]
) -> dict[str, float | None]:
    """Return mPC, the mean AP over corruptions and severities, and rPC, its share of the clean AP in percent.

    Michaelis et al., arXiv 1907.07484.
    """
    return _summary([cell.metrics for cell in corruptions], clean, tasks, "PC")


def _summary(cells: Sequence[Metrics], clean: Metrics, tasks: Sequence[str], name: str) -> dict[str, float | None]:
    summary: dict[str, float | None] = {}
    for task in tasks:
        aps = [ap for metrics in cells if (ap := metrics.get(f"{task}/AP")) is not None]
        if not aps:
            continue
        mean, clean_ap = sum(aps) / len(aps), clean.get(f"{task}/AP")
        summary[f"{task}/m{name}"] = mean
        summary[f"{task}/r{name}"] = 100 * mean / clean_ap if clean_ap else None
    return summary
