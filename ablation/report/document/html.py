"""A report as one HTML page that needs no other file and no network: styles, script and figures are inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from ablation.report.document.blocks import Block, Code, FigureBlock, Files, Heading, Listing, Paragraph, ReportDocument
from ablation.report.document.tables import Grid

_LARGE = 400_000  # bytes: an SVG of a thousand curves would make the page slow, the PNG of it is small


def page(contents: ReportDocument, images: Mapping[str, str]) -> str:
    """The whole text of index.html. images: for each Picture of the contents its address, as from `embed`."""
    template = Template(resources.files("ablation.report.document").joinpath("page.html").read_text(encoding="utf-8"))
    parts = [f'<p class="answer">{escape(contents.answer)}</p>', *(_written(b, images) for b in contents.blocks)]
    return template.substitute(title=escape(contents.title), body="\n".join(parts))


def embed(folder: Path, name: str) -> str:
    """The figure as an address that holds it all: <name>.svg of the folder, or the PNG where that is large."""
    vector = folder / f"{name}.svg"
    kind, path = ("svg+xml", vector) if vector.stat().st_size <= _LARGE else ("png", folder / f"{name}.png")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _written(block: Block, images: Mapping[str, str]) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Paragraph(text):
            return f'<p class="note">{escape(text)}</p>'
        case FigureBlock(name, title, caption):
            return (
                f'<figure><button type="button" class="zoom" aria-label="enlarge: {escape(title)}">'
                f'<img src="{images[name]}" alt="{escape(title)}"></button>'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
        case Listing(items):
            return _list(map(escape, items))
        case Files(items):
            return _list(f'<a href="{name}">{name}</a>: {escape(text)}' for name, text in items)
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"
        case Grid(header, rows, names):
            body = "\n".join(_row(row, "td", names) for row in rows)
            head = _row(header, "th", names)
            return f'<div class="scroll"><table><thead>{head}</thead><tbody>\n{body}\n</tbody></table></div>'


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _row(cells: Sequence[str], tag: str, names: int) -> str:
    own = (f'<{tag} class="name">' if i < names else f"<{tag}>" for i in range(len(cells)))
    return "<tr>" + "".join(f"{start}{escape(c)}</{tag}>" for start, c in zip(own, cells, strict=True)) + "</tr>"
