"""A sweep from the command line to the report: resumed, shared, and whole but for the rows that failed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import HANGS

from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord, Status
from ablation.records.storage import read_record

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture
def command(micro, tmp_path):
    """The command line of a sweep of the micro model, in a folder of its own."""
    own = [override for override in micro if not override.startswith("sweep.root")]
    return [sys.executable, "-m", "ablation.run", "-m", *own, f"sweep.root={tmp_path}/sweeps"]


@pytest.fixture
def sweep(tmp_path):
    return SweepPaths(tmp_path / "sweeps" / "micro-shapes")


def finish(command, *overrides, status=0):
    environment = {**os.environ, "PYTHONPATH": str(ASSETS), "COLUMNS": "80"}
    done = subprocess.run(
        [*command, *overrides], capture_output=True, text=True, timeout=HANGS, env=environment, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows(sweep):
    return pd.read_csv(sweep.report / "runs.csv").set_index("noise.sigma")


def test_a_sweep_ends_with_table_report_and_tensorboard_and_its_repetition_does_nothing(command, sweep):
    first = finish(command, "noise.sigma=0,0.5", "noise.when=train,always")
    assert "4 runs (1 sharing another one's result), 2 trainings" in first.stdout
    assert f"tensorboard --logdir {sweep.folder}" in first.stdout
    assert (sweep.report / "index.html").exists()
    table = rows(sweep)
    assert list(table.status) == ["completed"] * 4
    assert table.loc[0].run_id.nunique() == 1
    assert max(map(len, first.stdout.splitlines()[1:-2])) <= 80
    before = (sweep.report / "runs.csv").read_bytes()
    again = finish(command, "noise.sigma=0,0.5", "noise.when=train,always")
    assert "4 done, nothing to do" in again.stdout.replace("3 done", "4 done")
    assert (sweep.report / "runs.csv").read_bytes() == before


@pytest.mark.slow
def test_a_larger_grid_adds_only_what_is_new(command, sweep):
    finish(command, "noise.sigma=0")
    (baseline,) = (sweep.folder / "trainings").iterdir()
    trained = (baseline / "model.safetensors").stat().st_mtime_ns
    grown = finish(command, "noise=gaussian,uniform", "noise.sigma=0,0.5")
    assert "1 done" in grown.stdout
    assert (baseline / "model.safetensors").stat().st_mtime_ns == trained
    assert len(list((sweep.folder / "trainings").iterdir())) == 3


@pytest.mark.slow
def test_every_kind_of_death_is_one_failed_row_and_the_others_complete(command, sweep):
    sigmas = "noise.sigma=0,0.11,0.12,0.13,0.14,0.15,0.16,0.5"
    faulty = ["hydra.launcher.preload=[ablation.preload,faults]", "hydra.launcher.timeout=60"]
    done = finish(command, sigmas, *faulty, status=1)
    assert "5 of 8 runs have no result" in done.stderr
    table = rows(sweep)
    assert list(table.loc[[0, 0.5]].status) == ["completed"] * 2
    kinds = {}
    for sigma, row in table.iterrows():
        record = read_record(sweep.run(row.run_id).record, RunRecord)
        if record.error:
            assert row.status == ("diverged" if sigma == 0.15 else "failed")
            assert record.error.log
            kinds[sigma] = record.error.kind
    assert kinds == {
        0.11: "signal",
        0.12: "out-of-memory",
        0.13: "exit",
        0.14: "timeout",
        0.15: "diverged",
        0.16: "out-of-memory",
    }
    healed = finish(command, sigmas)
    assert "3 done (1 diverged)" in healed.stdout
    assert list(rows(sweep).drop(0.15).status) == ["completed"] * 7


def test_a_killed_sweep_goes_on_and_ends_with_the_same_metrics(command, sweep, tmp_path):
    overrides = ["noise.sigma=0,0.5,0.9", "schedule.iterations=40", "sweep.checkpoint_period=5"]
    other = [o.replace(str(tmp_path / "sweeps"), str(tmp_path / "undisturbed")) for o in command]
    finish(other, *overrides)
    process = subprocess.Popen(
        [*command, *overrides], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: list(sweep.folder.glob("trainings/*/checkpoint.pth")))
    os.killpg(process.pid, 9)
    process.wait()
    finish(command, *overrides)
    undisturbed = SweepPaths(tmp_path / "undisturbed" / "micro-shapes")
    pd.testing.assert_frame_equal(rows(sweep), rows(undisturbed))


def test_an_interrupted_sweep_says_so_and_exits_like_an_interrupted_command(command, sweep):
    process = subprocess.Popen(
        [*command, "noise.sigma=0,0.5", "schedule.iterations=2000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(sweep.folder.glob("trainings/*/metrics.jsonl")))
    time.sleep(1)
    process.send_signal(2)
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == 130
    assert "2 of 2 runs" in err or "1 of 2 runs" in err
    assert "Traceback" not in err
    statuses = {read_record(sweep.run(f.name).record, RunRecord).status for f in (sweep.folder / "runs").iterdir()}
    assert statuses == {Status.INTERRUPTED}
    assert list(sweep.folder.glob("trainings/*/checkpoint.pth"))


@pytest.mark.slow
def test_two_commands_share_the_work(command, sweep):
    overrides = ["noise.sigma=0,0.5,0.9", "seed=0,1", "schedule.iterations=20"]
    both = [
        subprocess.Popen([*command, *overrides], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=HANGS)
        assert process.returncode == 0, out + err
    assert list(rows(sweep).status) == ["completed"] * 6
    for log in sweep.folder.glob("trainings/*/log.txt"):
        assert log.read_text().count("Iteration 20 of 20") == 1


@pytest.mark.slow
def test_results_of_other_versions_are_refused_with_the_difference(command, sweep):
    finish(command, "noise.sigma=0")
    for path in sweep.folder.glob("*/*/*.json"):
        path.write_text(path.read_text().replace('"torch": "', '"torch": "0.'))
    refused = finish(command, "noise.sigma=0,0.5", status=1)
    assert "holds results of other versions: torch 0." in refused.stderr
    assert "sweep.allow_other_versions=true" in refused.stderr
    finish(command, "noise.sigma=0,0.5", "sweep.allow_other_versions=true")


def wait_for(condition):
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of a few MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_is_a_failed_row_that_says_so_and_more_space_fixes_it(command, small_disk, tmp_path):
    own = [o.replace(str(tmp_path / "sweeps"), str(small_disk)) for o in command]
    overrides = [f"dataset.folder={tmp_path / 'data'}", "noise.sigma=0,0.2,0.5", "hydra.launcher.workers=1"]
    overrides += ["evaluation.pictures=0"]  # as large as all else
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((6 << 20) - 900_000))  # room for one training's weights and all records
    full = finish(own, *overrides, status=1)
    assert "No space left" in full.stderr or "failed writing" in full.stderr
    folder = SweepPaths(small_disk / "micro-shapes")
    records = [read_record(path, RunRecord) for path in folder.folder.glob("runs/*/record.json")]
    assert {r.status for r in records} == {Status.COMPLETED, Status.FAILED}
    assert {r.error.kind for r in records if r.error} == {"out-of-space"}
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)
    finish(own, *overrides)
    assert list(rows(folder).status) == ["completed"] * 3
