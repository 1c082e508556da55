"""The differences to the baseline below one another: a forest plot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn.objects as so
from matplotlib.figure import Figure

from ablation.report.figures.style import BASELINE, KINDS, MAX_ROWS, draw, wrap_label
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.estimates import Estimate
from ablation.report.statistics.findings import Findings
from ablation.report.statistics.summaries import estimate_name


def differences(findings: Findings) -> Figure | None:
    """Draw the mean difference of each cell with its interval, its seeds, and whether an effect is claimed."""
    sweep = findings.sweep
    compared = [e for e in findings.outcome.compared if e.difference is not None]
    if not 1 < len(compared) <= MAX_ROWS:
        return None
    names = [wrap_label(_name(sweep, e)) for e in compared]
    intervals = [
        (e.difference_interval.low, e.difference_interval.high) if e.difference_interval else (None, None)
        for e in compared
    ]
    cells = pd.DataFrame(intervals, columns=["low", "high"], dtype=float).assign(
        name=names,
        difference=[e.difference for e in compared],
        is_claimed=["yes" if e.verdict is not None and e.verdict.is_claimed else "no" for e in compared],
        seed=[list(e.differences.values()) for e in compared],
    )
    seeds = cells[["name", "is_claimed", "seed"]].explode("seed").astype({"seed": float})
    cells = cells.drop(columns="seed")
    plot = (
        so.Plot(pd.concat([cells, seeds], ignore_index=True), x="difference", y="name", color="is_claimed")
        .add(so.Dash(width=0.25, linewidth=1, alpha=0.6), x="seed", orient="y", legend=False)
        .add(so.Range(linewidth=1.4), xmin="low", xmax="high", orient="y", legend=False)
        .add(so.Dot(pointsize=5, color="white", artist_kws={"zorder": 3}), color=None, legend=False)
        .add(so.Dot(pointsize=5, artist_kws={"zorder": 3}), fill="is_claimed", legend=False)
        .scale(color=so.Nominal({"no": KINDS[0], "yes": KINDS[1]}), fill=so.Nominal({"no": False, "yes": True}))
        .limit(x=_limits(cells, seeds["seed"]))
        .label(x=f"{sweep.primary_metric}, seed-paired difference to the baseline [points]", y="")
    )
    lines = sum(name.count("\n") + 1 for name in names)
    figure = draw(plot, (6.4, 0.16 * lines + 0.1 * len(names) + 1.0))
    figure.axes[0].axvline(0, color=BASELINE, linewidth=1, zorder=1)
    return figure


def _name(sweep: Sweep, e: Estimate) -> str:
    lost = f", baseline diverged {e.diverged_baselines} of {e.asked}" if e.diverged_baselines else ""
    return estimate_name(sweep, e) + lost


def _limits(cells: pd.DataFrame, seeds: pd.Series[float]) -> tuple[float, float]:
    """Limit x to seeds and means, and to intervals not much wider."""
    drawn = np.array([0.0, *seeds, *cells["difference"]])
    low, high = float(drawn.min()), float(drawn.max())
    room = max(high - low, 1.0)
    low = min(low, max(cells["low"].min(), low - room)) if cells["low"].notna().any() else low
    high = max(high, min(cells["high"].max(), high + room)) if cells["high"].notna().any() else high
    return low - 0.05 * room, high + 0.05 * room
