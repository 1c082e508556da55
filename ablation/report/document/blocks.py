"""The parts of a report: text, tables and figures, independent of the format they are written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablation.report.document.formatting import TextTable


@dataclass(frozen=True)
class Heading:
    """Start of a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class FigureBlock:
    """A figure with its caption.

    Attributes:
        name: Stem of the files in figures/.
        title: What the figure shows, in a few words.
        caption: How to read it.
    """

    name: str
    title: str
    caption: str


@dataclass(frozen=True)
class Listing:
    """A list of remarks."""

    items: Sequence[str]


@dataclass(frozen=True)
class Files:
    """Links to files beside the report, as pairs of file name and description."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Shell commands."""

    text: str


Block = Heading | Paragraph | FigureBlock | Listing | Files | Code | TextTable


@dataclass(frozen=True)
class ReportDocument:
    """A whole report: its title, the answer that opens it, and the blocks that follow in order."""

    title: str
    answer: str
    blocks: Sequence[Block]
