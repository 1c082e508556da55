"""What a report is made of: blocks of plain text, tables and figures, which markdown.py and page.py write out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablation.report.document.tables import Grid


@dataclass(frozen=True)
class Heading:
    """Opens a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class FigureBlock:
    """A figure by its name among the files, what it shows and how to read it."""

    name: str
    title: str
    caption: str


@dataclass(frozen=True)
class Listing:
    """Remarks, one a line."""

    items: Sequence[str]


@dataclass(frozen=True)
class Files:
    """Files beside the report, by name, each with what it holds."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Text for a shell."""

    text: str


Block = Heading | Paragraph | FigureBlock | Listing | Files | Code | Grid


@dataclass(frozen=True)
class ReportDocument:
    """A report: the answer comes first, then the blocks in their order."""

    title: str
    answer: str
    blocks: Sequence[Block]
