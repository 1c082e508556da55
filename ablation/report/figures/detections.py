"""The same test image with the detections of several cells."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray

from ablation.records.errors import RecordError
from ablation.records.paths import SweepPaths
from ablation.report.figures.style import subsample_evenly
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.findings import Findings
from ablation.report.statistics.summaries import cell_names
from ablation.scoring.archive import EVALUATE_AGAIN

_MAX_PICTURES = 4


def detections(findings: Findings) -> Figure | None:
    """Show the pictures that `find_pictures` finds, two in a row, each under the name of its cell."""
    images = [(name, _read(path)) for name, path in find_pictures(findings.sweep, _MAX_PICTURES)]
    if not images:
        return None
    columns = min(2, len(images))
    rows = math.ceil(len(images) / columns)
    height, width = images[0][1].shape[:2]
    figure = Figure(figsize=(7.2, rows * (7.2 / columns * height / width + 0.3)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, (name, image) in zip(axes, images, strict=False):
        ax.imshow(image)
        ax.set_title(name)
    return figure


def _read(path: Path) -> NDArray[Any]:
    try:
        return imread(path)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:  # Pillow raises all of them
        raise RecordError(f"{path} cannot be read as a picture: {error}. {EVALUATE_AGAIN}") from error


def find_pictures(sweep: Sweep, count: int) -> list[tuple[str, Path]]:
    """Find the picture of one test image for about `count` cells, by name.

    Returns:
        Names and files; empty where the runs have no image in common.
    """
    folders: dict[str, Path] = {}
    for cell, row in zip(cell_names(sweep), sweep.runs.to_dict("records"), strict=True):
        for folder in sweep.folders:
            pictures = SweepPaths(folder).run(row["run_id"]).pictures
            if pictures.is_dir():
                folders.setdefault(cell, pictures)
    cells = subsample_evenly(list(folders), count)
    common = set.intersection(*({p.name for p in folders[cell].glob("*.png")} for cell in cells)) if cells else set()
    return [(cell, folders[cell] / min(common)) for cell in cells] if common else []
