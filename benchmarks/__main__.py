"""`python -m benchmarks`: one benchmark after the other, in half an hour on two cores; then docs/benchmarks.md.

    python -m benchmarks                 # measure all, write the page
    python -m benchmarks scoring grid    # only these, write the page
    python -m benchmarks --page          # write the page from the last results

Each runs in a process of its own, prints a table and leaves a JSON file in benchmarks/results/, from which the page is
made. Most have keys of their own for longer measurements: `python -m benchmarks.<name> --help`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from benchmarks.page import write_page

# The longest that fit into half an hour together. By themselves: chaos (twenty kills), coverage (the statistics), and
# noise_overhead of all types, whose rows stay where a type is not measured.
SUITE: dict[str, Sequence[Sequence[str]]] = {
    "planning": [[]],
    "speed": [["--iterations", "30"]],
    "noise_overhead": [
        ["--model", "tiny", "--types", "gaussian", "--pairs", "150"],
        ["--model", "r50", "--types", "gaussian", "--pairs", "3"],
    ],
    "iteration": [["--model", "tiny", "--pairs", "60"], ["--model", "r50", "--pairs", "4"]],
    "grid": [["--model", "tiny", "--turns", "1"], ["--model", "r50", "--images", "2", "--turns", "1"]],
    "scoring": [[]],
    "report": [[]],
}


def main() -> None:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SUITE)}; none = all")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(SUITE)):
        parser.error(f"there is no {', '.join(unknown)}. Available: {', '.join(SUITE)}.")
    console = Console(soft_wrap=True, highlight=False)
    started = time.monotonic()
    for name in () if given.page else given.names or SUITE:
        for arguments in SUITE[name]:
            console.print(f"[bold]{name}[/bold] {' '.join(arguments)} (after {time.monotonic() - started:.0f} s)")
            subprocess.run([sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *arguments], check=True)
    console.print(f"Written: {write_page()}; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
