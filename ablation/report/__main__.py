"""Build the report of a sweep, finished or not, from its records.

Everything heavy is imported inside functions, so that `--help` and a mistyped folder are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ablation.records.errors import AblationError
from ablation.records.streams import tolerate_closed_output
from ablation.report.build import build


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the report of the folders on the command line, print its main table, and return the exit status."""
    with tolerate_closed_output():
        return _build(arguments)


def _build(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ablation.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="sweeps/<name>; several are compared")
    parser.add_argument("--out", type=Path, help="folder to write to (default: FOLDER/report)")
    options = parser.parse_args(arguments)
    from rich.console import Console

    try:
        findings, page = build(options.folders, options.out)
    except KeyboardInterrupt:
        return 130
    except (AblationError, OSError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True, style="red")
        return 1
    from ablation.report.document.answer import compose_answer
    from ablation.report.document.tables import build_summary

    console = Console()
    console.print(build_summary(findings))
    console.print(compose_answer(findings), markup=False, highlight=False)
    console.print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
