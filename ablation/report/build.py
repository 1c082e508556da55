"""Writes the report of one or several sweeps: tables, figures, page and Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.records.atomic import replacing, write_text
from ablation.records.paths import SweepPaths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ablation.report.statistics.findings import Findings


def build(folders: Sequence[Path | str] | Path | str, out: Path | str | None = None) -> tuple[Findings, Path]:
    """Write the report of one sweep, or of several side by side; returns what it says and the path of its page.

    out: the folder to write; by default <folder>/report, and below it versus-<others> where several are compared.
    The same records give the same bytes.

    Raises:
        AblationError: a folder is no sweep.
    """
    from ablation.report import tensorboard
    from ablation.report.loading.sweep import load_sweeps

    given = [Path(folders)] if isinstance(folders, (str, Path)) else [Path(f) for f in folders]
    sweep = load_sweeps(given)
    from ablation.report.statistics.findings import Findings

    findings = Findings.of(sweep)
    if out is None and len(sweep.folders) == 1:
        tensorboard.write(sweep)
    return findings, _write(findings, Path(out) if out else _default_out(given))


def _default_out(folders: Sequence[Path]) -> Path:
    from ablation.report.loading.index import sweep_names

    first, *others = dict.fromkeys(folders)
    report = SweepPaths(first).report
    return report / ("versus-" + "-".join(Path(n).name for n in sweep_names(others))) if others else report


def _write(findings: Findings, out: Path) -> Path:
    from concurrent.futures import ThreadPoolExecutor

    from ablation.report.document.contents import compile_contents
    from ablation.report.document.html import embed, page
    from ablation.report.document.markdown import markdown

    with ThreadPoolExecutor(1) as pool:  # Arrow writes millions of rows while the figures are drawn
        curves = [
            pool.submit(_write_arrow, findings.sweep.curves, out / f"curves.{kind}") for kind in ("csv", "parquet")
        ]
        drawn = _draw(findings, out / "figures")
        for writing in curves:
            writing.result()
    _write_tables(findings, out)
    contents = compile_contents(findings, drawn)
    write_text(out / "report.md", markdown(contents))
    write_text(out / "index.html", page(contents, {name: embed(out / "figures", name) for name in drawn}))
    return out / "index.html"


def _write_tables(findings: Findings, out: Path) -> None:
    import pandas as pd

    from ablation.report.document.contents import trends
    from ablation.report.document.latex import latex
    from ablation.report.document.tables import results

    sweep = findings.sweep
    frames = {
        "runs": sweep.runs,
        "differences": _differences(findings),
        "commands": pd.DataFrame(sweep.reruns.items(), columns=["run_id", "command"]),
        **{
            name: frame
            for name, frame in (
                ("grid", sweep.grid),
                ("corruptions", sweep.corruptions),
                ("errors", sweep.error_shift),
                ("cost", sweep.cost),
            )
            if not frame.empty
        },
    }
    for name, frame in frames.items():
        write_text(out / f"{name}.csv", _csv(frame))
    _write_arrow(sweep.runs, out / "runs.parquet")
    tables = [("results", results(findings)), ("trends over sigma", trends(findings.outcome.decision))]
    write_text(out / "tables.tex", latex(tables))


def _draw(findings: Findings, folder: Path) -> Collection[str]:
    """Save all figures as PNG and SVG and remove those of an earlier state of the sweep; returns their names."""
    from ablation.report.figures.catalog import FIGURES
    from ablation.report.figures.style import style

    drawn = []
    with style():
        for spec in FIGURES:
            if figure := spec.draw(findings):
                _save(figure, folder / spec.name)
                drawn.append(spec.name)
                continue
            for suffix in (".png", ".svg"):
                (folder / f"{spec.name}{suffix}").unlink(missing_ok=True)
    return drawn


def _save(figure: Figure, stem: Path) -> None:
    with replacing(stem.with_suffix(".png")) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
        if any(ax.images for ax in figure.axes):
            _use_palette(temporary)
    figure.set_layout_engine("none")  # keep the layout of the first drawing: of many panels it takes seconds
    with replacing(stem.with_suffix(".svg")) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _use_palette(path: Path) -> None:
    """Reduce photographs to 256 colours: a quarter of the bytes, in the file and in the page that holds it."""
    from PIL import Image

    with Image.open(path) as image:
        reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(path, "PNG", optimize=True)


def _csv(frame: pd.DataFrame) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _write_arrow(frame: pd.DataFrame, path: Path) -> None:
    """As CSV or Parquet, by the suffix; a column of several types becomes text."""
    import pyarrow
    from pyarrow import csv, parquet

    mixed = [c for c in frame if frame[c].dtype == object and frame[c].map(type).nunique() > 1]
    table = pyarrow.Table.from_pandas(frame.astype(dict.fromkeys(mixed, str)), preserve_index=False)
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            csv.write_csv(table, temporary, csv.WriteOptions(quoting_style="needed"))
        else:
            parquet.write_table(table, temporary)


def _differences(findings: Findings) -> pd.DataFrame:
    """Of all metrics, in their order; only the primary one has verdicts."""
    from ablation.report.statistics.estimates import as_frame, estimate
    from ablation.report.statistics.findings import grouping

    sweep, judged = findings.sweep, findings.outcome.estimates
    return as_frame(
        e
        for metric in sweep.metrics or (sweep.primary_metric,)
        for e in (judged if metric == sweep.primary_metric else estimate(sweep.runs, grouping(sweep), metric))
    )
