"""`python -m ablation.report sweeps/<name>`: the report of a sweep, finished or not, from its records alone.

pandas and matplotlib are imported inside functions: `--help` answers at once, and so does a mistyped folder's name.
"""

from __future__ import annotations

import argparse
import functools
import math
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.errors import AblationError
from ablation.record import SweepPaths, replacing, write_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.table import Table

    from ablation.stats import Estimate, Interval
    from ablation.table import Problem, Sweep

_SIGMA = "noise.sigma"
_FIGURES = ("metric_against_sigma", "losses")
_CLAIM_SEEDS = 6  # below, no exact sign-flip test can reach p < 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the report of the folders on the command line, print the main table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ablation.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="sweeps/<name>; several are compared")
    parser.add_argument("--out", type=Path, help="where to write (default: FOLDER/report)")
    given = parser.parse_args(arguments)
    from rich.console import Console

    try:
        from ablation.table import load_sweeps

        sweep = load_sweeps(given.folders)
        path = _write(sweep, given.out or _default_out(given.folders))
    except (AblationError, OSError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True, style="red")
        return 1
    console = Console()
    console.print(summary(sweep))
    console.print(answer(sweep), markup=False, highlight=False)
    console.print(f"Report: {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def build(folders: Sequence[Path | str] | Path | str, out: Path | str | None = None) -> Path:
    """Write the report of one sweep, or of several side by side, and return the path of its report.md.

    out: the folder to write; by default <folder>/report, and below it versus-<others> where several are compared.
    The same records give the same bytes.

    Raises:
        AblationError: a folder is no sweep.
    """
    from ablation.table import load_sweeps

    given = [Path(folders)] if isinstance(folders, (str, Path)) else [Path(f) for f in folders]
    sweep = load_sweeps(given)
    return _write(sweep, Path(out) if out else _default_out(given))


def summary(sweep: Sweep) -> Table:
    """The main table for a terminal of 80 columns: factors, seeds, AP, difference to the baseline with interval."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    header, rows = _result_rows(sweep)
    heading = Text(f"{sweep.name}: {_progress(sweep)}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=heading)
    table.caption = Text(_difference_note(sweep))
    factors = len(header) - len(_shown_metrics(sweep)) - 3
    for index, name in enumerate(header[:-1]):
        is_factor = index < factors
        title = _short(name, header[:factors]) if is_factor else name
        table.add_column(Text(title), overflow="fold", no_wrap=not is_factor, justify="left" if is_factor else "right")
    for row in rows:
        *cells, difference, interval = row
        table.add_row(*map(Text, (*cells, f"{difference} {interval}".strip())))
    return table


def answer(sweep: Sweep) -> str:
    """What the sweep says about its primary metric, in two or three sentences worded by rule."""
    estimates = _estimates(sweep, sweep.primary_metric)
    measured = [e for e in estimates if e.n]
    if not measured:
        return f"No answer yet: no cell has a result ({_progress(sweep)})."
    partial = "" if len(sweep.completed) == len(sweep.runs) else f"Preliminary ({_progress(sweep)}): "
    text = _comparison(sweep, measured)
    return partial + (text if not partial or text.startswith(sweep.primary_metric) else text[0].lower() + text[1:])


def escape(text: object) -> str:
    """Text as Markdown shows it literally, also inside a table and where HTML would be let through."""
    plain = " ".join(str(text).split())
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        plain = plain.replace(sign, entity)
    plain = re.sub(r"([\\`*\[\]|~#$])", r"\\\1", plain)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)  # inside a word it means nothing


def _default_out(folders: Sequence[Path]) -> Path:
    from ablation.table import sweep_names

    first, *others = dict.fromkeys(folders)
    report = SweepPaths(first).report
    return report / ("versus-" + "-".join(Path(n).name for n in sweep_names(others))) if others else report


def _write(sweep: Sweep, out: Path) -> Path:
    from ablation import plots

    with plots.style():
        figures = dict(_figures(sweep))
        for name in _FIGURES:
            for suffix in ("png", "svg"):
                path = out / "figures" / f"{name}.{suffix}"
                if name in figures:
                    _save(figures[name], path)
                else:
                    path.unlink(missing_ok=True)  # of an earlier state of the sweep
    for name, frame in (("runs", sweep.runs), ("curves", sweep.curves), ("differences", _differences(sweep))):
        write_text(out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    write_text(out / "report.md", _markdown(sweep, figures))
    return out / "report.md"


def _save(figure: Figure, path: Path) -> None:
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)


def _estimates(sweep: Sweep, metric: str) -> list[Estimate]:
    from ablation.stats import estimate

    return estimate(sweep.runs, sweep.factors or (_SIGMA,), metric)


def _differences(sweep: Sweep) -> pd.DataFrame:
    from ablation.stats import as_frame

    metrics = sweep.metrics or (sweep.primary_metric,)
    return as_frame(e for metric in metrics for e in _estimates(sweep, metric))


def _comparison(sweep: Sweep, measured: Sequence[Estimate]) -> str:
    metric = sweep.primary_metric
    baselines = [e for e in measured if e.is_baseline]
    noisy = [e for e in measured if not e.is_baseline]
    compared = [e for e in noisy if e.difference is not None]
    if not noisy:
        return f"{metric} without noise is {_span(baselines)}. No cell with noise has a result to compare it with."
    if not compared:
        return (
            f"{metric} with noise is {_span(noisy)}. There is no baseline of the same seed to compare it with; "
            "add it to the sweep (noise.sigma=0, or noise=none where another parameter sets the strength)."
        )
    seeds = max(e.pairs for e in compared)
    if seeds == 1:
        return (
            f"{metric} is {_span(baselines)} without noise and {_span(noisy)} with it. Each comparison rests on one "
            "seed, so the variance of repeated training is not covered and no difference is called an effect: "
            "repeating the same training with another seed alone moves AP by about 0.5 to 2 points. Add seed=range(6)."
        )
    return _largest(sweep, compared)


def _largest(sweep: Sweep, compared: Sequence[Estimate]) -> str:
    largest = max(compared, key=lambda e: abs(e.difference or 0.0))
    seeds = max(e.pairs for e in compared)
    among = f"of {len(compared)} cells" if len(compared) > 1 else "of one cell"
    interval = _interval(largest.difference_interval) or "none, one seed"
    text = (
        f"The largest seed-paired difference in {sweep.primary_metric} to the baseline {among} is "
        f"{largest.difference:+.1f} points, at {_named(sweep, largest)} "
        f"(n = {largest.pairs}, 95 % t interval {interval}, for this cell alone). "
    )
    if seeds >= _CLAIM_SEEDS:
        return text + "Intervals are not adjusted for the number of cells, and no test was made: nothing is claimed."
    from ablation.stats import smallest_p

    return text + (
        f"With {seeds} seeds no exact test can give p below {smallest_p(seeds):.2g}, so nothing is called significant; "
        f"{_CLAIM_SEEDS} seeds are the least that can."
    )


def _span(estimates: Sequence[Estimate]) -> str:
    # Cells may share a run (one baseline for all types): a value said once is enough.
    values = sorted({f"{e.value:.1f}" for e in estimates if e.value is not None}, key=float)
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}" if values else "not measured"


def _named(sweep: Sweep, estimate: Estimate) -> str:
    return ", ".join(f"{f}={_shown(estimate.factors[f])}" for f in _shown_factors(sweep))


def _progress(sweep: Sweep) -> str:
    counts = Counter(sweep.runs["status"])
    rest = [f"{counts[s]} {s}" for s in ("failed", "interrupted", "running", "planned") if counts[s]]
    cells = "1 cell" if len(sweep.runs) == 1 else f"{len(sweep.runs)} cells"
    return ", ".join([f"{counts['completed']} of {cells} completed", *rest])


def _difference_note(sweep: Sweep) -> str:
    return (
        f"difference: {sweep.primary_metric} minus that of the same seed at sigma 0, mean over seeds "
        "[95 % t interval; none with one seed]"
    )


def _shown_factors(sweep: Sweep) -> tuple[str, ...]:
    return sweep.varied or (_SIGMA,)


def _shown_metrics(sweep: Sweep) -> tuple[str, ...]:
    shown = ("bbox/AP", "segm/AP", sweep.primary_metric)
    return tuple(dict.fromkeys(m for m in shown if m in sweep.metrics or m == sweep.primary_metric))


def _result_rows(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text: factors, n, metrics, difference, interval; a baseline that cells share stands once."""
    from ablation.stats import estimate

    factors, metrics = _shown_factors(sweep), _shown_metrics(sweep)
    columns = {metric: estimate(sweep.runs, factors, metric) for metric in metrics}
    rows: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    for index, main in enumerate(columns[sweep.primary_metric]):
        values = [columns[metric][index].value for metric in metrics]
        n = str(main.n) if main.n == main.asked else f"{main.n} of {main.asked}"
        if main.difference is not None and main.pairs != main.n:
            n += f" ({main.pairs} paired)"
        names = _row_names(main, factors)
        row = [*names, n, *map(_ap, values), _difference(main), _interval(main.difference_interval)]
        if main.n >= rows.get(tuple(names), (0, row))[0]:  # a grown grid may ask more seeds of one type's baseline
            rows[tuple(names)] = main.n, row
    return [*factors, "n", *metrics, "difference", "95 % interval"], [row for _, row in rows.values()]


def _row_names(e: Estimate, factors: Sequence[str]) -> list[str]:
    from ablation.table import is_noise

    return ["any" if e.is_baseline and is_noise(f) and f != _SIGMA else _shown(e.factors[f]) for f in factors]


def _ap(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _difference(e: Estimate) -> str:
    if not e.n:
        return "no result"
    if e.is_baseline:
        return "baseline"
    return "no baseline" if e.difference is None else f"{e.difference:+.1f}"


def _interval(interval: Interval | None) -> str:
    return f"[{interval.low:+.1f}, {interval.high:+.1f}]" if interval else ""


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "measured" if math.isnan(value) else f"{value:g}"
    return str(value)


def _short(factor: str, among: Sequence[str]) -> str:
    last = factor.rsplit(".", 1)[-1]
    return last if [f.rsplit(".", 1)[-1] for f in among].count(last) == 1 else factor


def _figures(sweep: Sweep) -> Iterable[tuple[str, Figure]]:
    sigmas = sweep.completed[_SIGMA]
    # Where every noise is set by its type's own parameters, only the baseline has a place on the axis of sigma.
    if sweep.primary_metric in sweep.metrics and ((sigmas > 0).any() or sigmas.notna().all()):
        yield "metric_against_sigma", _metric_figure(sweep)
    curves = sweep.curves[sweep.curves["metric"] == "total_loss"]
    if not curves.empty:
        yield "losses", _loss_figure(sweep, curves, "total_loss")


def _metric_figure(sweep: Sweep) -> Figure:
    from ablation import plots
    from ablation.stats import as_frame, estimate

    metric, rows = sweep.primary_metric, sweep.runs[sweep.runs[_SIGMA].notna()]
    factors = [f for f in sweep.varied if f != _SIGMA and rows[f].map(str).nunique() > 1]
    factors = [f for f in factors if not _is_strength(rows, f)]
    means = as_frame(estimate(rows, (*factors, _SIGMA), metric))
    layout = plots.Layout.of(factors)
    panel = [f for f in (layout.across, *layout.down) if f]
    sigmas = sorted(set(sweep.completed[_SIGMA].dropna()))

    def draw(runs: pd.DataFrame, ax: Any) -> None:
        here = means.merge(runs[panel].drop_duplicates()) if panel else means
        plots.metric_against_sigma(runs, here, metric, layout.hue, _bands(runs, metric, layout.hue), sigmas, ax)

    return plots.small_multiples(rows, layout, draw, layout.hue or "")


def _is_strength(runs: pd.DataFrame, factor: str) -> bool:
    """Whether the factor is a type's own name for its sigma, which is on the axis already."""
    return factor.startswith("noise.params.") and bool(runs.groupby(_SIGMA)[factor].nunique(dropna=False).max() == 1)


def _bands(runs: pd.DataFrame, metric: str, hue: str | None) -> dict[Any, Interval]:
    """The null band of a panel: one for all hues where they share the baseline, one for each where they do not."""
    from ablation.stats import baseline_spread
    from ablation.table import is_noise

    parts = {None: runs} if hue is None or is_noise(hue) else dict(list(runs.groupby(hue, sort=False)))
    spreads = {value: baseline_spread(part, metric) for value, part in parts.items()}
    return {value: found for value, found in spreads.items() if found}


def _loss_figure(sweep: Sweep, curves: pd.DataFrame, metric: str) -> Figure:
    from ablation import plots

    factors = _training_factors(sweep)
    others = [f for f in factors if f != _SIGMA]
    hue = _SIGMA if _SIGMA in factors else next(iter(others), None)
    layout = plots.Layout.of([hue, *(f for f in others if f != hue)] if hue else [])
    # A training id names its content: where two sweeps hold the same training, one of the copies is enough.
    points = curves.drop_duplicates(["training_id", "iteration"])[["training_id", "iteration", "value"]]
    labelled = sweep.runs[["training_id", *factors]].drop_duplicates().merge(points, on="training_id")
    draw = functools.partial(_draw_losses, name=metric, hue=hue)
    return plots.small_multiples(labelled, layout, draw, hue or "")


def _draw_losses(curves: pd.DataFrame, ax: Any, name: str, hue: str | None) -> None:
    from ablation import plots

    plots.loss_overlay(curves, name, hue, ax)


def _training_factors(sweep: Sweep) -> list[str]:
    """The varied factors that change a training; noise.when=train,always shares one."""
    kept = list(sweep.varied)
    for factor in reversed(sweep.varied):
        rest = [f for f in kept if f != factor]
        if sweep.runs.groupby([*rest, "seed"], dropna=False)["training_id"].nunique().max() == 1:
            kept = rest
    return kept


def _markdown(sweep: Sweep, figures: Iterable[str]) -> str:
    parts = [f"# {escape(sweep.name)}", escape(answer(sweep))]
    if sweep.primary_metric != sweep.named_metric:
        missing = escape(sweep.named_metric)
        parts.append(f"No run measured the primary metric {missing}; {sweep.primary_metric} stands in.")
    if "metric_against_sigma" in figures:
        parts += [_figure("metric_against_sigma", f"{sweep.primary_metric} against {_SIGMA}"), _METRIC_CAPTION]
    parts += ["## Results", _results(sweep), escape(_difference_note(sweep)) + "."]
    if "losses" in figures:
        parts += ["## Training loss", _figure("losses", "training loss"), _LOSS_CAPTION]
    parts += _realised(sweep)
    parts += _missing(sweep)
    parts += _provenance(sweep)
    return "\n\n".join(parts) + "\n"


_METRIC_CAPTION = (
    "Every open mark is one seed, the line is their mean, the bar its 95 % t interval over seeds (two seeds or more; "
    "it is cut where it would leave the panel). The shaded band is the range of the baseline over its seeds: a mean "
    "within it cannot be told from repeated training by eye. Upper axis: SNR = -20 log10 sigma. Cells whose sigma is "
    "only measured are in the table alone."
)
_LOSS_CAPTION = (
    "Thin: as logged (detectron2's medians over the logging period). Thick: running mean over an eighth of the curve, "
    "averaged over the seeds that got that far; the band is their range. The training loss is measured "
    "with the noise on, so a higher curve under noise is no evidence of a worse model."
)


def _figure(name: str, title: str) -> str:
    return f"[![{escape(title)}](figures/{name}.png)](figures/{name}.svg)"


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(c if i == 1 else escape(c) for c in line) + " |" for i, line in enumerate(lines))


def _results(sweep: Sweep) -> str:
    header, rows = _result_rows(sweep)
    return _grid(header, rows)


def _realised(sweep: Sweep) -> list[str]:
    """SNR in dB per level, measured while the noise acted, mean over the distinct trainings or runs of a cell."""
    levels = (
        sweep.levels.dropna(subset=["snr_db"])
        .drop_duplicates(["phase", "id", "level"])
        .drop(columns="sweep", errors="ignore")
    )
    if levels.empty:
        return []
    names, factors = sorted(levels["level"].unique()), list(_shown_factors(sweep))
    rows: list[list[str]] = []
    for phase, column in (("train", "training_id"), ("eval", "run_id")):
        cells = sweep.runs[list(dict.fromkeys([*factors, _SIGMA, column]))].drop_duplicates()
        cells = cells[cells[_SIGMA] != 0].merge(levels[levels["phase"] == phase], left_on=column, right_on="id")
        means = cells.groupby([*factors, "level"], sort=False, dropna=False)["snr_db"].mean().unstack("level")
        for key, found in means.iterrows():
            values = key if isinstance(key, tuple) else (key,)
            snrs = [found.get(name, float("nan")) for name in names]
            rows.append([*map(_shown, values), phase, *("" if math.isnan(s) else f"{s:.1f}" for s in snrs)])
    note = "SNR in dB per level, measured while the noise acted (training or evaluation), mean over seeds."
    return ["## Realised noise", note, _grid([*factors, "phase", *names], rows)]


def _missing(sweep: Sweep) -> list[str]:
    rows = [_failure_row(sweep, problem) for problem in sweep.failures]
    header = [*_shown_factors(sweep), "seed", "status", "reason", "what to do", "log"]
    parts = ["## Failed and missing cells"]
    if rows:
        parts.append(_grid(header, rows))
    waiting = _waiting(sweep)
    if waiting:
        parts += ["Not finished yet:", _grid([*_shown_factors(sweep), "status", "seeds"], waiting)]
    if sweep.refusals:
        parts += ["Cells of the last command that cannot run:", "\n".join(f"- {escape(r)}" for r in sweep.refusals)]
    if not rows and not waiting and not sweep.refusals:
        parts.append("None: every cell that was asked for has a result.")
    if sweep.remarks:
        parts += ["## Remarks", "\n".join(f"- {escape(r.run_id)}: {escape(r.reason)}" for r in sweep.remarks)]
    return parts


def _failure_row(sweep: Sweep, problem: Problem) -> list[str]:
    """All cells that share the failed run in one row: the values that they have in common, or all of them."""
    cells = sweep.runs[sweep.runs["run_id"] == problem.run_id]
    if "sweep" in cells:
        cells = cells[cells["sweep"] == problem.sweep]
    values = [", ".join(dict.fromkeys(_shown(v) for v in cells[f])) for f in (*_shown_factors(sweep), "seed")]
    return [*values, problem.status, problem.reason, problem.advice, problem.log]


def _waiting(sweep: Sweep) -> list[list[str]]:
    factors = list(_shown_factors(sweep))
    rows = sweep.runs[sweep.runs["status"].isin(["planned", "running"])]
    seeds: dict[tuple[str, ...], list[str]] = {}
    for row in rows.to_dict("records"):
        key = (*(_shown(row[f]) for f in factors), str(row["status"]))
        seeds.setdefault(key, []).append(str(row["seed"]))
    return [[*key, ", ".join(found)] for key, found in seeds.items()]


def _provenance(sweep: Sweep) -> list[str]:
    parts = ["## What this was computed from"]
    parts.append(
        "[runs.csv](runs.csv): one row per cell; its run_id and training_id name the folders below `runs/` and "
        "`trainings/` that hold the record, the resolved config.yaml and the log. [curves.csv](curves.csv): every "
        "logged number. [differences.csv](differences.csv): every estimate, for every metric, unrounded."
    )
    if sweep.commands:
        parts += ["Commands:", _code("\n".join(sweep.commands))]
    if sweep.versions:
        parts.append(_grid(["what", "value"], [[k, _values(v)] for k, v in sweep.versions.items()]))
    folders = [str(folder) for folder in sweep.folders]
    return [*parts, "This report is rebuilt by:", _code(shlex.join(["python", "-m", "ablation.report", *folders]))]


def _values(values: Sequence[str]) -> str:
    listed = "; ".join(values[:4]) + (f"; and {len(values) - 4} others" if len(values) > 4 else "")
    return f"differs: {listed}" if len(values) > 1 else listed


def _code(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"


if __name__ == "__main__":
    sys.exit(main())
