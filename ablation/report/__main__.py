"""`python -m ablation.report sweeps/<name>`: the report of a sweep, finished or not, from its records alone.

pandas and matplotlib are imported inside functions: `--help` answers at once, and so does a mistyped folder's name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.records.errors import AblationError
from ablation.report.build import build

if TYPE_CHECKING:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the report of the folders on the command line, print the main table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ablation.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="sweeps/<name>; several are compared")
    parser.add_argument("--out", type=Path, help="where to write (default: FOLDER/report)")
    given = parser.parse_args(arguments)
    from rich.console import Console

    try:
        findings, path = build(given.folders, given.out)
    except (AblationError, OSError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True, style="red")
        return 1
    from ablation.report.document.answer import answer
    from ablation.report.document.tables import summary

    console = Console()
    console.print(summary(findings))
    console.print(answer(findings), markup=False, highlight=False)
    console.print(f"Report: {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
