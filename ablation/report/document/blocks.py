"""The parts of a report: text, tables and figures, independent of the format they are written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


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


@dataclass(frozen=True)
class TextTable:
    """A table of formatted text.

    Attributes:
        header: Column titles.
        rows: Cells, one sequence per row.
        name_columns: Number of columns from the left that hold names and are aligned left. The others hold numbers.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    name_columns: int

    def format(self, tablefmt: str, escape: Callable[[str], str]) -> str:
        """Return the table in one of tabulate's formats, after `escape` was applied to every cell."""
        from tabulate import tabulate

        header, *rows = [[escape(cell) for cell in row] for row in (self.header, *self.rows)]
        alignment = ["left" if i < self.name_columns else "right" for i in range(len(header))]
        return tabulate(rows, header, tablefmt, disable_numparse=True, colalign=alignment)


Block = Heading | Paragraph | FigureBlock | Listing | Files | Code | TextTable


@dataclass(frozen=True)
class ReportDocument:
    """A whole report: its title, the answer that opens it, and the blocks that follow in order."""

    title: str
    answer: str
    blocks: Sequence[Block]
