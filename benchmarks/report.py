"""The report of synthetic sweeps: how long it takes from nothing, again, and after one more run; and its memory.

    python -m benchmarks.report                      # 10, 100, 1,000 and 3,000 runs of 1,000 points
    python -m benchmarks.report --runs 1000

Each build is a process of its own. The records are those of finished runs with a noise grid, corruptions, kinds of
error and curves of four metrics; "cold" reads every file, "again" finds nothing changed, "one more" one new run.
Wall-clock seconds: take them on a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # whose factory makes the records

_SEEDS = 10


def make(folder: Path, runs: int, points: int, first_seed: int = 0) -> None:
    """Add the records of so many runs."""
    from sweep_factory import make_sweep

    sigmas = [i / 100 for i in range(max(1, runs // _SEEDS))]
    seeds = list(range(first_seed, first_seed + min(runs, _SEEDS)))
    make_sweep(folder, {"noise.sigma": sigmas, "seed": seeds}, points=points, is_full=True)


def build(folder: Path) -> tuple[float, float]:
    """Seconds and MiB of `python -m ablation.report` in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", _BUILD, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, float(done.stdout.split()[-1])


_BUILD = """
import resource, sys
from ablation.report.__main__ import main
main([sys.argv[1]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measured(runs: int, points: int) -> dict[str, Any]:
    """One row of the result."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sweep"
        make(folder, runs, points)
        cold, memory = build(folder)
        again, _ = build(folder)
        make(folder, 1, points, first_seed=_SEEDS)
        more, _ = build(folder)
    return {"runs": runs, "points": points, "cold_s": cold, "again_s": again, "one_more_s": more, "peak_mib": memory}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, leave a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1000, 3000])
    parser.add_argument("--points", type=int, default=1000)
    given = parser.parse_args(arguments)
    rows = [measured(runs, given.points) for runs in given.runs]
    table = Table("runs", "cold, s", "again, s", "one more, s", "peak, MiB", box=None)
    for row in rows:
        figures = (f"{row[key]:.1f}" for key in ("cold_s", "again_s", "one_more_s"))
        table.add_row(str(row["runs"]), *figures, f"{row['peak_mib']:.0f}")
    console = Console()
    console.print(table)
    console.print(f"Written: {write_result('report', rows)}")


if __name__ == "__main__":
    main()
