"""A sweep against the shell loop that it replaces and Hydra's other launchers, and what one more training costs.

    python -m benchmarks.speed                       # all of it, about 20 minutes on two cores
    python -m benchmarks.speed --iterations 300      # with the model's own recipe

The grid sigma=0,0.05,0.1 x when=train,always x seed=0,1 (12 runs, 6 trainings) of the built-in model is made once by
twelve commands one after the other, each with a folder of its own, and once by one command. The trainings are shortened
to 100 iterations by default, which favours the loop less than it seems: its starts weigh more, its repeated trainings
less. Its six trainings alone are also made by Hydra's basic launcher, and by joblib's where `make launchers` was run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ablation.processes.launch import Limits, PoolCallback, TaskResult, launch
from ablation.processes.progress import Progress
from ablation.processes.server import preload
from ablation.processes.worker import Task
from benchmarks.machine import write_result

MODEL = Path(__file__).parents[1] / "tests" / "assets" / "micro_rcnn.yaml"
MICRO = (
    *("model.name=micro", f"model.config={MODEL}", "model.weights=''"),
    *("dataset.train_size=8", "dataset.test_size=4", "dataset.image_size=64"),
)


def seconds_of(*overrides: str) -> float:
    """Wall-clock seconds of one command."""
    started = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-m", "ablation.run", *overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def loop_and_sweep(root: Path, iterations: int) -> dict[str, float]:
    """Seconds of the loop and of the sweep, for the whole grid and for its six distinct trainings."""
    common = [f"schedule.iterations={iterations}", f"dataset.folder={root / 'data'}"]
    seconds_of(*common, "schedule.iterations=1", f"sweep.root={root / 'first'}")  # makes the data set, for both
    loop = {}
    for sigma, when, seed in itertools.product(("0", "0.05", "0.1"), ("train", "always"), ("0", "1")):
        cell = [f"noise.sigma={sigma}", f"noise.when={when}", f"seed={seed}"]
        loop[when, sigma, seed] = seconds_of(*common, *cell, f"sweep.root={root / '-'.join((sigma, when, seed))}")
    grid = ["noise.sigma=0,0.05,0.1", "seed=0,1"]
    return {
        "loop, 12 runs": sum(loop.values()),
        "sweep, 12 runs": seconds_of("-m", *common, *grid, "noise.when=train,always", f"sweep.root={root / 'all'}"),
        "loop, 6 trainings": sum(s for (when, _, _), s in loop.items() if when == "train"),
        "sweep, 6 trainings": seconds_of("-m", *common, *grid, f"sweep.root={root / 'six'}"),
        **{
            f"launcher {name}, 6 trainings": seconds_of(
                "-m", *common, *grid, f"sweep.root={root / name}", f"hydra/launcher={name}"
            )
            for name in ("basic", *(["joblib"] if list(metadata.distributions(name="hydra-joblib-launcher")) else []))
        },
    }


class _FirstIteration(PoolCallback):
    """Records when a task was requested and when its first iteration was done."""

    def __init__(self) -> None:
        self.requested = self.done = 0.0

    def on_progress(self, name: str, progress: Progress) -> None:
        if progress.stage == "train" and not self.done:
            self.done = time.monotonic()

    def on_end(self, result: TaskResult) -> None:
        if result.failure is not None:
            raise RuntimeError(result.failure.message)


def start_up(root: Path) -> dict[str, float]:
    """Seconds from the request for one more training to its first iteration, and what a later iteration takes.

    What the first takes longer than the later ones counts as start-up.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from ablation.config.compose import config_folder
    from ablation.execute import execute

    preload(["ablation.preload"])
    first: list[tuple[float, float]] = []
    for seed in range(12):
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            overrides = [f"seed={seed}", "schedule.iterations=8", "sweep.log_period=1", f"sweep.root={root}"]
            composed = compose("config", overrides=[*overrides, "dataset.test_size=8", "noise.sigma=0.1"])
        callback = _FirstIteration()
        container: Any = OmegaConf.to_container(composed, resolve=True)
        callback.requested = time.monotonic()
        launch([Task("training", execute, (container,), root / "log.txt")], [{}], Limits(), callback)
        metrics = max(root.glob("*/trainings/*/metrics.jsonl"), key=lambda path: path.stat().st_mtime)
        iteration = json.loads(metrics.read_text().splitlines()[-1])["time"]
        first.append((callback.done - callback.requested - iteration, iteration))
    # The first request starts the server and makes the data set; the others are what one more training costs.
    before, itself = (statistics.median(values) for values in zip(*first[1:], strict=True))
    return {"from the request to the first iteration": before, "an iteration": itself}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, leave a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=100, help="of each training of the grid")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        starts = start_up(root / "start")
        grid = loop_and_sweep(root / "grid", given.iterations)
    found = starts | grid
    ratios = {n: grid[f"loop, {n}"] / grid[f"sweep, {n}"] for n in ("12 runs", "6 trainings")}
    table = Table("what", "seconds", box=None)
    for name, seconds in found.items():
        table.add_row(name, f"{seconds:.2f}")
    console = Console()
    console.print(table)
    for name, ratio in ratios.items():
        console.print(f"{name}: the sweep is {ratio:.2f} times as fast as the loop.")
    rows: list[dict[str, object]] = [{"what": name, "seconds": seconds} for name, seconds in starts.items()]
    rows += [{"what": name, "seconds": seconds, "iterations": given.iterations} for name, seconds in grid.items()]
    console.print(f"Written: {write_result('speed', rows)}")


if __name__ == "__main__":
    main()
