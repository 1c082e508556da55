"""A report as Markdown: every text of a user is shown literally."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ablation.report.document.blocks import Block, Code, FigureBlock, Files, Heading, Listing, Paragraph, ReportDocument
from ablation.report.document.tables import Grid


def markdown(contents: ReportDocument) -> str:
    """The whole text of report.md; figures are looked for in figures/ beside it."""
    parts = [f"# {escape(contents.title)}", escape(contents.answer), *map(_written, contents.blocks)]
    return "\n\n".join(parts) + "\n"


def escape(text: object) -> str:
    """Text as Markdown shows it literally, also inside a table and where HTML would be let through."""
    plain = " ".join(str(text).split())
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        plain = plain.replace(sign, entity)
    plain = re.sub(r"([\\`*\[\]|~#$])", r"\\\1", plain)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)  # inside a word it means nothing


def _written(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {escape(text)}"
        case Paragraph(text):
            return escape(text)
        case FigureBlock(name, title, caption):
            return f"[![{escape(title)}](figures/{name}.png)](figures/{name}.svg)\n\n{escape(caption)}"
        case Listing(items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case Files(items):
            return "\n".join(f"- [{name}]({name}): {escape(text)}" for name, text in items)
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}sh\n{text}\n{fence}"
        case Grid(header, rows):
            return "\n".join([_row(header), "|" + " --- |" * len(header), *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escape, cells)) + " |"
