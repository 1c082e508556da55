"""Builds the report of one or several sweeps: tables, figures, the HTML page and Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.records.atomic import replacing, write_text
from ablation.records.errors import AblationError, RecordError
from ablation.records.paths import SweepPaths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ablation.report.loading.index import Problem
    from ablation.report.statistics.findings import Findings

_FILES = {
    "runs.csv": "one row per cell; run_id and training_id name the folders in runs/ and trainings/ that hold the "
    "record, the resolved config.yaml and the log",
    "curves.csv": "every logged number",
    "differences.csv": "every estimate of every metric, not rounded",
    "commands.csv": "the command that repeats each run, by run_id",
    "tables.tex": "the tables of results and trends for a paper",
}


def build(folders: Sequence[Path | str] | Path | str, out: Path | str | None = None) -> tuple[Findings, Path]:
    """Write the report of one sweep, or of several compared with each other.

    The same records give the same bytes.

    Args:
        folders: The folder of a sweep, or several.
        out: The folder to write; by default <folder>/report, or versus-<others> below it if several are compared.

    Returns:
        The findings that the report is made of, and the path of its page.

    Raises:
        AblationError: A folder holds no sweep, or the report cannot be written.
    """
    from ablation.report.loading.index import sweep_names
    from ablation.report.loading.sweep import load_sweeps
    from ablation.report.statistics.findings import Findings

    paths = [Path(folders)] if isinstance(folders, (str, Path)) else [Path(folder) for folder in folders]
    findings = Findings.of(load_sweeps(paths))
    first, *others = paths
    default = SweepPaths(first).report
    if others:
        default /= "versus-" + "-".join(Path(name).name for name in sweep_names(others))
    folder = Path(out) if out else default
    try:
        if not others and out is None:
            from ablation.report import tensorboard

            tensorboard.write(findings.sweep)
        return _write(findings, folder)
    except OSError as error:
        raise AblationError(
            f"The report cannot be written to {folder}: {error.strerror or error} "
            f"({error.filename2 or error.filename or folder}). Make this place writable, or give "
            "`python -m ablation.report` another folder with --out."
        ) from error


def _write(findings: Findings, folder: Path) -> tuple[Findings, Path]:
    from concurrent.futures import ThreadPoolExecutor

    from ablation.report.document.contents import compose_document
    from ablation.report.document.html import embed, render_page
    from ablation.report.document.markdown import render_markdown

    with ThreadPoolExecutor(1) as pool:  # Arrow writes millions of rows while the figures are drawn
        curves = findings.sweep.curves
        futures = [pool.submit(_write_arrow, curves, folder / f"curves.{kind}") for kind in ("csv", "parquet")]
        figures, damage = _draw(findings, folder / "figures")
        for future in futures:
            future.result()
    findings = replace(findings, sweep=replace(findings.sweep, remarks=(*findings.sweep.remarks, *damage)))
    _write_tables(findings, folder)

    document = compose_document(findings, figures, _FILES)
    write_text(folder / "report.md", render_markdown(document))
    page = folder / "index.html"
    write_text(page, render_page(document, {name: embed(folder / "figures", name) for name in figures}))
    return findings, page


def _write_tables(findings: Findings, folder: Path) -> None:
    import pandas as pd

    from ablation.report.document.latex import render_latex
    from ablation.report.document.tables import build_results_table, build_trend_table
    from ablation.report.statistics.estimates import as_frame, estimate
    from ablation.report.statistics.findings import grouping

    sweep, primary = findings.sweep, findings.sweep.primary_metric
    # Only the primary metric has verdicts.
    estimates = (
        e
        for metric in sweep.metrics or (primary,)
        for e in (findings.outcome.estimates if metric == primary else estimate(sweep.runs, grouping(sweep), metric))
    )
    tables = {
        "runs.csv": sweep.runs,
        "differences.csv": as_frame(estimates),
        "commands.csv": pd.DataFrame(sweep.reruns.items(), columns=["run_id", "command"]),
        "grid.csv": sweep.grid,
        "corruptions.csv": sweep.corruptions,
        "errors.csv": sweep.error_shift,
        "cost.csv": sweep.cost,
    }
    for name, table in tables.items():
        if not table.empty:  # not every sweep was evaluated under noise and corruptions
            write_text(folder / name, str(table.to_csv(index=False, lineterminator="\n")))
    _write_arrow(sweep.runs, folder / "runs.parquet")
    results, trends = build_results_table(findings), build_trend_table(findings.outcome.decision)
    write_text(folder / "tables.tex", render_latex({"results": results, "trends over sigma": trends}))


def _draw(findings: Findings, folder: Path) -> tuple[Collection[str], Sequence[Problem]]:
    """Save all figures as PNG and SVG and remove those of an earlier state of the sweep.

    Returns:
        Their names, and remarks on those that damaged files prevent; an earlier drawing of these stays.
    """
    from ablation.report.figures.catalog import FIGURES
    from ablation.report.figures.style import style
    from ablation.report.loading.index import Problem

    damage = []
    with style():
        for spec in FIGURES:
            try:
                if figure := spec.draw(findings):
                    _save(figure, folder / spec.name)
                elif not spec.is_kept:
                    for suffix in (".png", ".svg"):
                        (folder / f"{spec.name}{suffix}").unlink(missing_ok=True)
            except RecordError as error:
                reason = str(error).replace(f"{findings.sweep.folder}/", "")
                damage.append(Problem(findings.sweep.name, spec.title, "", reason))
    return [spec.name for spec in FIGURES if (folder / f"{spec.name}.png").exists()], damage


def _save(figure: Figure, stem: Path) -> None:
    # Compute the layout once and by itself: savefig would draw everything a second time to find it.
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine(None)
    with replacing(stem.with_suffix(".png")) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
        if any(ax.images for ax in figure.axes):
            _use_palette(temporary)
    with replacing(stem.with_suffix(".svg")) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _use_palette(path: Path) -> None:
    """Reduce photographs to 256 colours: a quarter of the bytes, in the file and in the page that holds it."""
    from PIL import Image

    with Image.open(path) as image:
        reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(path, "PNG", optimize=True)


def _write_arrow(frame: pd.DataFrame, path: Path) -> None:
    """Write CSV or Parquet, by the suffix of the path. A column of mixed types becomes text."""
    import pyarrow
    from pyarrow import csv, parquet

    mixed = [c for c in frame if frame[c].dtype == object and frame[c].map(type).nunique() > 1]
    table = pyarrow.Table.from_pandas(frame.astype(dict.fromkeys(mixed, str)), preserve_index=False)
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            csv.write_csv(table, temporary, csv.WriteOptions(quoting_style="needed"))
        else:
            parquet.write_table(table, temporary)
