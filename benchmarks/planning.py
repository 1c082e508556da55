"""What a command costs besides its trainings: starting, planning new cells, repeating a finished sweep.

    python -m benchmarks.planning                    # about two minutes

Whole processes, each three times; the figure is the median. The finished sweeps are of the smallest model, with records
that the benchmark writes instead of computing them, so that a thousand take seconds. Repeating a finished sweep reads
every record, finds nothing to do, and builds the report.
"""

from __future__ import annotations

import argparse
import statistics
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
from benchmarks.speed import MICRO, seconds_of

_SEEDS = 20
_METRICS = {f"{task}/{name}": 30.0 for task in ("bbox", "segm") for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")}


def grid(cells: int) -> list[str]:
    """Overrides of a sweep of so many cells, a multiple of the number of seeds."""
    sigmas = ",".join(f"{0.001 * i:.3f}" for i in range(cells // _SEEDS))
    return [f"noise.sigma={sigmas}", f"seed=range({_SEEDS})"]


def fill(arguments: Sequence[str]) -> None:
    """Do what the command with these arguments does, but write records instead of computing them."""
    import numpy as np
    from safetensors.numpy import save_file

    from ablation import run as command
    from ablation.records import provenance
    from ablation.records.schema import RunRecord, Status, TrainingRecord
    from ablation.records.storage import write_record
    from ablation.sweep import sweep

    weights, results = np.zeros(1, np.float32), np.random.default_rng(0).random(5000)  # 40 kB, as of 200 images

    def write(planned: Any, *_: Any) -> list[Any]:
        for number, one in enumerate(planned.to_do):
            ids = {"training_id": one.cell.training_id}
            common: dict[str, Any] = {
                "status": Status.COMPLETED,
                "seed": one.config.seed,
                "environment": dict(provenance.versions()),
            }
            training = planned.paths.training(one.cell.training_id)
            write_record(training.record, TrainingRecord(**common, **ids))
            save_file({"weight": weights}, training.weights)
            metrics = {name: value + number % 7 for name, value in _METRICS.items()}
            record = RunRecord(**common, **ids, run_id=one.cell.run_id, metrics=metrics)
            run = planned.paths.run(one.cell.run_id)
            write_record(run.record, record)
            for file in (run.resamples, run.matches("bbox"), run.matches("segm")):
                np.savez_compressed(file, values=results)
        return []

    sweep._run_waves = write  # the one step that takes long
    sys.argv = ["ablation.run", *arguments]
    command.main()


def measured(root: Path, cells: int) -> dict[str, float]:
    """Seconds of planning so many new cells, and of repeating the sweep once they are finished."""
    command = ["-m", *MICRO, *grid(cells), f"sweep.root={root}"]
    new = _median(*command, "sweep.dry_run=true")
    call = f"from benchmarks.planning import fill; fill({command!r})"
    subprocess.run([sys.executable, "-W", "ignore", "-c", call], check=True, stdout=subprocess.DEVNULL)
    return {f"planning {cells} new cells": new, f"repeating {cells} finished cells": _median(*command)}


def _median(*overrides: str) -> float:
    return statistics.median(seconds_of(*overrides) for _ in range(3))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, leave a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[300, 1000])
    given = parser.parse_args(arguments)
    started = time.monotonic()
    found = {"--help": _median("--help"), "--cfg job": _median("--cfg", "job")}
    for cells in given.cells:
        with tempfile.TemporaryDirectory() as root:
            found |= measured(Path(root), cells)
    table = Table("what", "seconds", box=None)
    for name, seconds in found.items():
        table.add_row(name, f"{seconds:.2f}")
    console = Console()
    console.print(table)
    rows = [{"what": name, "seconds": seconds} for name, seconds in found.items()]
    console.print(f"Written: {write_result('planning', rows)} after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
