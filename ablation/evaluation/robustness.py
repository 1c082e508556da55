"""Robustness to noise and to corruption: the mean AP, and its share of the clean AP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Metrics = Mapping[str, float | None]


def robustness(cells: Sequence[Metrics], clean: Metrics, tasks: Sequence[str], name: str) -> dict[str, float | None]:
    """Return the mean AP over conditions, and its share of the clean AP in percent, for each task.

    Over corruptions and severities they are mPC and rPC, performance under corruption (Michaelis et al., arXiv
    1907.07484). Over the noisy cells of a grid they are called mPFN and rPFN, performance under feature noise.

    Args:
        cells: The metrics under each condition.
        clean: The metrics without noise or corruption; empty if they are unknown.
        tasks: Such as bbox; those without an AP under any condition are left out.
        name: PC or PFN.
    """
    summary: dict[str, float | None] = {}
    for task in tasks:
        # A task without ground truth has an AP of None.
        aps = [ap for metrics in cells if (ap := metrics.get(f"{task}/AP")) is not None]
        if not aps:
            continue
        mean, clean_ap = sum(aps) / len(aps), clean.get(f"{task}/AP")
        summary[f"{task}/m{name}"] = mean
        summary[f"{task}/r{name}"] = 100 * mean / clean_ap if clean_ap else None
    return summary
