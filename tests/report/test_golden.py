"""The report of a small sweep in golden/: its wording, its rows and its numbers do not change by accident.

After an intended change run `PYTHONPATH=tests python tests/report/test_golden.py` and review the difference.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from sweep_factory import make_sweep

from ablation.report.build import build

GOLDEN = Path(__file__).parent / "golden"
TEXTS, FRAMES = ("report.md", "tables.tex"), ("runs.csv", "differences.csv", "grid.csv", "commands.csv")


def build_report(folder):
    """Build the report of the golden records in a folder of its own."""
    shutil.copytree(GOLDEN / "sweep", folder / "sweep")
    build(folder / "sweep")
    return folder / "sweep" / "report"


def rebuilt_text(path, folder):
    return path.read_text().replace(str(folder), "...")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return build_report(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", TEXTS)
def test_the_words_are_those_of_the_golden_files(report, name):
    assert rebuilt_text(report / name, report.parents[1]) == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", FRAMES)
def test_the_numbers_are_those_of_the_golden_files(report, name):
    pd.testing.assert_frame_equal(pd.read_csv(report / name), pd.read_csv(GOLDEN / name), rtol=1e-9)


def test_in_another_folder_it_is_the_same_to_the_byte(report, tmp_path):
    again = build_report(tmp_path)
    for name in (*FRAMES, "tables.tex", "curves.csv", "runs.parquet", "figures/differences.png", "figures/losses.svg"):
        assert (again / name).read_bytes() == (report / name).read_bytes(), name


def test_parquet_holds_what_csv_holds(report):
    for name in ("runs", "curves"):
        table = pd.read_parquet(report / f"{name}.parquet")
        expected = pd.read_csv(report / f"{name}.csv")
        assert list(table.columns) == list(expected.columns)
        assert len(table) == len(expected)
    assert (table["value"] == expected["value"]).all()


def remake():
    """Write the records and the expected files again."""
    shutil.rmtree(GOLDEN, ignore_errors=True)
    grid = {"noise.sigma": [0.0, 0.5, 1.0], "seed": list(range(6))}
    make_sweep(GOLDEN / "sweep", grid, points=6, is_full=True)
    report = build_report(GOLDEN / "made")
    for name in TEXTS:
        (GOLDEN / name).write_text(rebuilt_text(report / name, report.parents[1]))
    for name in FRAMES:
        shutil.copy(report / name, GOLDEN / name)
    shutil.rmtree(GOLDEN / "made")


if __name__ == "__main__":
    remake()
