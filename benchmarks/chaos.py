"""Kill trainings, the controller or everything at random moments of a sweep, repeat the command, compare the result.

    python -m benchmarks.chaos --kills 20

A sweep of eight runs is made once undisturbed and once with SIGKILLs. It passes when every metric of runs.csv is the
same to the last bit and no training repeated more than what came after its last checkpoint. Printed for each kill:
who was killed, the iterations of work that were lost, and the seconds from the next command to the next iteration.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from ablation.records.schema import Status
from benchmarks.machine import write_result

MODEL = Path(__file__).parents[1] / "tests" / "assets" / "micro_rcnn.yaml"
ITERATIONS, CHECKPOINT_PERIOD = 60, 10


def command(root: Path) -> list[str]:
    """The sweep: two noise strengths and none, in training and always, for two seeds; ten runs, six trainings."""
    return [
        *(sys.executable, "-m", "ablation.run", "-m"),
        *("noise.sigma=0,0.5,1.0", "noise.when=train,always", "seed=0,1"),
        *("model.name=micro", f"model.config={MODEL}", "model.weights=''"),
        *("dataset.train_size=16", "dataset.test_size=8", "dataset.image_size=64"),
        *(f"schedule.iterations={ITERATIONS}", f"sweep.checkpoint_period={CHECKPOINT_PERIOD}", "sweep.log_period=1"),
        f"sweep.root={root}",
    ]


class Sweep:
    """A running command, with the processes it has and the iterations its trainings have logged."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "micro-shapes"
        self._before = self.logged()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command(root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def logged(self) -> dict[str, int]:
        """Lines of metrics by training."""
        return {p.parent.name: p.read_bytes().count(b"\n") for p in self.folder.glob("trainings/*/metrics.jsonl")}

    def seconds_to_first_iteration(self, limit: float = 120.0) -> float | None:
        """Wait until some training has gone on; None when the command ends before."""
        while self.process.poll() is None and time.monotonic() - self.started < limit:
            if any(count > self._before.get(name, 0) for name, count in self.logged().items()):
                return time.monotonic() - self.started
            time.sleep(0.05)
        return None

    def workers(self) -> list[int]:
        """Processes that train: the children of the fork server, which is a child of the controller."""
        servers = _children(self.process.pid)
        return [worker for server in servers for worker in _children(server)]

    def kill(self, victim: str) -> bool:
        """SIGKILL a worker, the controller or the whole session; False when there was nobody to kill."""
        try:
            if victim == "everything":
                os.killpg(self.process.pid, signal.SIGKILL)
            elif victim == "controller":
                self.process.kill()
            else:
                os.kill(random.choice(self.workers()), signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            return False
        return True


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resumed(folder: Path) -> dict[str, list[int]]:
    """By training, the iterations from which it went on, in order."""
    found = {}
    for log in folder.glob("trainings/*/log.txt"):
        text = log.read_text(errors="replace")
        found[log.parent.name] = [int(n) for n in re.findall(r"Resumed at iteration (\d+)\.", text)]
    return found


def unfinished(folder: Path) -> set[str]:
    """The trainings that have begun and have no completed record."""
    records = {path.parent.name: path.read_text() for path in folder.glob("trainings/*/training.json")}
    return {name for name, text in records.items() if not Status(json.loads(text)["status"]).is_final}


def disturb(root: Path, kills: int) -> list[dict[str, object]]:
    """Kill, wait for the end, repeat the command, until enough were killed; then let it finish.

    The work lost by a kill is what had been logged of the trainings that it left unfinished, less where the next
    command took them up.
    """
    rows: list[dict[str, object]] = []
    pending: dict[str, tuple[list[int], int]] = {}  # by training: where its loss is noted, and what had been logged
    while True:
        before = resumed(root / "micro-shapes")
        sweep = Sweep(root)
        recovered = sweep.seconds_to_first_iteration()
        if rows:
            rows[-1].setdefault("seconds_to_recover", recovered)
        is_enough, is_killed = len(rows) == kills, False
        if recovered is not None and not is_enough:
            time.sleep(random.uniform(0.0, 1.5))
            victim, now = random.choice(["worker", "controller", "everything"]), sweep.logged()
            is_killed = sweep.kill(victim)
        sweep.process.wait()
        _wait_for_orphans(sweep.folder)
        left = unfinished(sweep.folder)
        for name, (losses, count) in list(pending.items()):
            taken_up = resumed(sweep.folder).get(name, [])[len(before.get(name, [])) :]
            if taken_up or name not in left:  # done without having been taken up: it had to begin anew
                losses.append(max(0, count - (taken_up or [0])[0]))
                del pending[name]
        if is_enough:
            return rows
        if is_killed:
            losses = []
            rows.append({"victim": victim, "lost": losses})
            pending |= {name: (losses, now[name]) for name in left if name in now}
        if recovered is None:
            _forget_one_training(sweep.folder)  # all done before enough kills: let one start anew


def _wait_for_orphans(folder: Path) -> None:
    """Workers outlive a killed controller by the moment that saving their checkpoint takes."""
    from filelock import FileLock

    for lock in folder.glob("*/*/.lock"):
        with FileLock(lock, timeout=60):
            pass


def _forget_one_training(folder: Path) -> None:
    done = random.choice(sorted(folder.glob("trainings/*/training.json")))
    training = done.parent.name
    for run in folder.glob("runs/*/record.json"):
        if training in run.read_text():
            run.unlink()
    for file in done.parent.iterdir():
        file.unlink()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, and fail when a metric differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    random.seed(given.seed)
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        calm, wild = Path(temporary, "calm"), Path(temporary, "wild")
        subprocess.run(command(calm), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = disturb(wild, given.kills)
        expected, got = (pd.read_csv(root / "micro-shapes" / "report" / "runs.csv") for root in (calm, wild))
        pd.testing.assert_frame_equal(expected, got, check_exact=True)
    table = Table("killed", "iterations lost, by training", "s to recover", box=None)
    for row in rows:
        seconds, lost = row.get("seconds_to_recover"), row["lost"]
        assert isinstance(lost, list)
        assert all(count <= CHECKPOINT_PERIOD for count in lost), f"more was repeated than since a checkpoint: {lost}"
        shown = f"{seconds:.1f}" if isinstance(seconds, float) else ""
        table.add_row(str(row["victim"]), " + ".join(map(str, lost)) or "none was unfinished", shown)
    console.print(table)
    console.print(f"{len(rows)} kills; all {len(expected)} rows of runs.csv are the same to the last bit.")
    console.print(f"Written: {write_result('chaos', rows)}")


if __name__ == "__main__":
    main()
