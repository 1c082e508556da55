"""The studies that come with the project: complete, small, and what their records say."""

import csv
import shlex
import shutil
import subprocess
import sys
from html import unescape

import pytest
from conftest import ROOT

from ablation.records.paths import SweepPaths
from ablation.records.schema import RunRecord
from ablation.records.storage import read_record
from ablation.report.document.answer import compose_answer
from ablation.report.document.formatting import format_interval
from ablation.report.loading.sweep import load_sweep
from ablation.report.statistics.findings import Findings

EXAMPLES = sorted((ROOT / "sweeps").glob("example-*"))
# On another kind of processor sums are rounded otherwise, and a training of 300 iterations ends elsewhere.
TOLERANCE = 3.0  # points; see docs/reproducibility.md


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda folder: folder.name)
def example(request):
    return request.param


def test_there_are_examples():
    assert len(EXAMPLES) == 3


def test_every_cell_of_an_example_is_completed_with_eight_seeds(example):
    sweep = load_sweep(example)
    assert set(sweep.runs["status"]) == {"completed"}
    assert set(sweep.runs["seed"]) == set(range(8))
    assert not sweep.failures and not sweep.refusals


def test_the_committed_report_says_what_the_records_say(example):
    told = compose_answer(Findings.of(load_sweep(example)))
    text = unescape((example / "report" / "report.md").read_text()).replace("\\", "")
    assert told in " ".join(text.split())


def test_the_numbers_of_the_study_are_those_of_the_reports():
    text = (ROOT / "sweeps" / "README.md").read_text().replace("\n", " ")
    told = 0
    for name in ("example-shapes", "example-levels", "example-nuclei"):
        for one in Findings.of(load_sweep(ROOT / "sweeps" / name)).outcome.compared:
            if one.factors.get("noise.when") != "always":
                number = f"{one.difference:+.1f}"
                bold = f"**{number}**" if one.verdict.is_claimed else number
                assert f"{bold} {format_interval(one.difference_interval)}" in text
                told += 1
    assert told == 8 + 6 + 8


def test_the_examples_are_small():
    listed = subprocess.run(["git", "ls-files", "sweeps"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in listed.splitlines()]
    assert len(files) > 500
    assert sum(path.stat().st_size for path in files) <= 15e6
    assert not [path for path in files if path.suffix in (".safetensors", ".pth")]


@pytest.mark.slow
def test_a_cell_that_is_repeated_by_its_command_has_the_same_metrics(tmp_path):
    folder = ROOT / "sweeps" / "example-shapes"
    with (folder / "report" / "commands.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["run_id"].startswith("gaussian-sigma0.25-s3"))
    words = shlex.split(row["command"])
    assert words[:3] == ["python", "-m", "ablation.run"]
    again = [*words[3:], f"sweep.root={tmp_path}", "sweep.name=again", f"++dataset.folder={tmp_path / 'data'}"]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "ablation.run", *again], check=True, capture_output=True)
    then, now = (
        read_record(SweepPaths(path).run(row["run_id"]).record, RunRecord) for path in (folder, tmp_path / "again")
    )
    assert then.metrics.keys() == now.metrics.keys()
    assert then.metrics == pytest.approx(now.metrics, abs=TOLERANCE, nan_ok=True)
    shutil.rmtree(tmp_path / "again")
