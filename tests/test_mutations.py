"""Tests notice errors that would change a number without a crash: a line is broken in a copy, and a test must fail."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import HANGS, ROOT

MUTATIONS = {
    "a sign in the noise": (
        "ablation/noise/gaussian.py",
        "return noise.add_(x) if noise.shape == x.shape else x + noise",
        "return noise.sub_(x) if noise.shape == x.shape else x - noise",
        "tests/noise/test_reference.py",
    ),
    "the baseline of another seed": (
        "ablation/report/statistics/estimates.py",
        "pairs = {seed: (own[seed], baseline[seed])",
        "pairs = {seed: (own[seed], next(iter(baseline.values())))",
        "tests/report/statistics/test_estimates.py",
    ),
    "a lock that holds nobody off": (
        "ablation/execute.py",
        "with FileLock(lock, timeout=0):",
        "with contextlib.nullcontext():",
        "tests/test_execute.py",
    ),
    "an identity that leaves out the training noise": (
        "ablation/sweep/identity.py",
        '"noise": _noise_content(config, "train"),',
        '"noise": None,',
        "tests/sweep/test_identity.py",
    ),
    "Holm in the wrong order": (
        "ablation/report/statistics/paired.py",
        "np.arange(len(order), 0, -1)",
        "np.arange(1, len(order) + 1)",
        "tests/report/statistics/test_paired.py",
    ),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The project without its history, environment and results."""
    folder = tmp_path_factory.mktemp("mutated") / "project"
    ignored = shutil.ignore_patterns(".*", "sweeps", "__pycache__", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


def passes(project, tests):
    # In the copy's folder its own package comes before the installed one.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", tests, "-p", "no:cacheprovider"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 2 and more: pytest itself could not run
    return done.returncode == 0


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_line_to_break_exists(mutation):
    name, line, _, tests = MUTATIONS[mutation]
    assert (ROOT / name).read_text().count(line) == 1, f"{name} has changed: choose the line anew"
    assert (ROOT / tests).exists()


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_line_is_noticed(copied, mutation):
    name, line, broken, tests = MUTATIONS[mutation]
    path = copied / name
    source = path.read_text()
    assert passes(copied, tests)
    path.write_text(source.replace(line, broken))
    try:
        assert not passes(copied, tests)
    finally:
        path.write_text(source)
