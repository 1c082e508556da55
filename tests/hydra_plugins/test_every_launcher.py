"""Whoever runs the jobs, the results are the same: Hydra's official launchers against ours."""

import os
import subprocess
import sys

import pytest
from conftest import HANGS

pytestmark = pytest.mark.slow

PACKAGES = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}
OPTIONS = {"joblib": ["hydra.launcher.n_jobs=2"], "submitit_local": ["hydra.launcher.timeout_min=10"], "ray": []}
ELSEWHERE = {"cost.csv", "commands.csv", "curves.csv"}  # seconds, and paths of the sweep's folder


@pytest.fixture
def sweep(micro, tmp_path):
    def run(launcher, *overrides):
        own = [override for override in micro if not override.startswith("sweep.root")]
        command = [sys.executable, "-m", "ablation.run", "-m", *own, f"sweep.root={tmp_path / launcher}"]
        command += [f"hydra/launcher={launcher}", "noise.sigma=0,0.5", "noise.when=train,always", *overrides]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS, env=os.environ)
        assert done.returncode == 0, done.stdout + done.stderr
        report = tmp_path / launcher / "micro-shapes" / "report"
        return {path.name: path.read_bytes() for path in report.glob("*.csv") if path.name not in ELSEWHERE}

    return run


@pytest.mark.parametrize("launcher", PACKAGES)
def test_every_launcher_ends_with_the_same_tables(sweep, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{PACKAGES[launcher]}_launcher", reason="make launchers")
    assert sweep(launcher, *OPTIONS[launcher]) == sweep("pool")
