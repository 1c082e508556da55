"""What would make a number wrong without a crash is noticed: each line is broken in a copy, and a test must fail."""

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
        "ablation/stats.py",
        "pairs = {seed: (own[seed], baseline[seed])",
        "pairs = {seed: (own[seed], next(iter(baseline.values())))",
        "tests/test_stats.py",
    ),
    "a lock that holds nobody off": (
        "ablation/execute.py",
        "with FileLock(lock, timeout=0):",
        "with contextlib.nullcontext():",
        "tests/test_execute.py",
    ),
    "an identity that leaves out the training noise": (
        "ablation/identity.py",
        '"noise": _noise_content(config, "train"),',
        '"noise": None,',
        "tests/test_identity.py",
    ),
    "Holm in the wrong order": (
        "ablation/paired.py",
        "np.arange(len(order), 0, -1)",
        "np.arange(1, len(order) + 1)",
        "tests/test_paired.py",
    ),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The project without its history, environment and results."""
    folder = tmp_path_factory.mktemp("mutated") / "project"
    aside = shutil.ignore_patterns(".*", "sweeps", "__pycache__", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=aside)
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


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_line_is_noticed(copied, mutation):
    name, line, broken, tests = MUTATIONS[mutation]
    path = copied / name
    source = path.read_text()
    assert source.count(line) == 1, f"{name} has changed; choose the line anew"
    assert passes(copied, tests)
    path.write_text(source.replace(line, broken))
    try:
        assert not passes(copied, tests)
    finally:
        path.write_text(source)
