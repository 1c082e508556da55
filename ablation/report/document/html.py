"""The report as one HTML page that works offline: style, script and figures are embedded."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ablation.report.document.blocks import ReportDocument

_LARGE = 400_000  # bytes: an SVG of a thousand curves would make the page slow, its PNG is small


def render_page(document: ReportDocument, images: Mapping[str, str]) -> str:
    """Return the text of index.html.

    Args:
        document: The report.
        images: Address of each figure by name, as `embed` returns it.
    """
    loader = PackageLoader("ablation.report.document", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(document=document, images=images)


def embed(folder: Path, name: str) -> str:
    """Return a figure as a data URI: <name>.svg of the folder, or the PNG if the SVG is large or missing."""
    vector = folder / f"{name}.svg"
    is_small = vector.exists() and vector.stat().st_size <= _LARGE
    kind, path = ("svg+xml", vector) if is_small else ("png", folder / f"{name}.png")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
