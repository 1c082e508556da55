"""The report as Markdown."""

from __future__ import annotations

import html
import re

from ablation.report.document.blocks import Block, Code, FigureBlock, Files, Heading, Listing, Paragraph, ReportDocument
from ablation.report.document.formatting import TextTable


def render_markdown(document: ReportDocument) -> str:
    """Return the text of report.md, which links to the figures in figures/ beside it."""
    parts = [f"# {escape(document.title)}", escape(document.answer), *map(_render, document.blocks)]
    return "\n\n".join(parts) + "\n"


def escape(text: object) -> str:
    """Return text that Markdown shows literally, also inside a table and where HTML is allowed."""
    plain = html.escape(" ".join(str(text).split()), quote=False)
    plain = re.sub(r"([\\`*\[\]|~#$])", r"\\\1", plain)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)  # inside a word it has no meaning


def _render(block: Block) -> str:
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
        case TextTable():
            return block.format("pipe", escape)
