"""A report of a damaged sweep names the damaged file, in a remark or in its refusal, and changes nothing but itself."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scoring_factory import random_case
from sweep_factory import make_sweep, read_cells

from ablation.evaluation.matching import match
from ablation.records.errors import AblationError
from ablation.report.build import build
from ablation.report.figures import catalog
from ablation.report.tensorboard import FILE
from ablation.run import main
from ablation.scoring.bootstrap import RESAMPLES

FILES = (
    *("cells.jsonl", "sweep.json", "runs/*/record.json", "runs/*/resamples.npz", "runs/*/matches-segm.npz"),
    *("runs/*/pictures/7.png", "runs/*/config.yaml", f"runs/*/{FILE}", "trainings/*/training.json"),
    *("trainings/*/metrics.jsonl", "trainings/*/config.yaml", f"layout/{FILE}"),
)
NOT_READ = ("matches-segm.npz", "config.yaml", FILE)  # damage to these changes no report
HARMLESS = [("sweep.json", "a list")]  # a history of no commands


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "zeros": lambda content: b"\0" * len(content),
    "random": lambda content: np.random.default_rng(0).bytes(len(content)),
    "a flipped byte": lambda content: flipped(content, len(content) // 2),
    "another flipped byte": lambda content: flipped(content, len(content) // 3),
    "a list": lambda _: b"[]",
    "an object": lambda _: b'{"a": 1}\n',
    "a number": lambda _: b"3",
    "removed": None,
    "a folder": None,
}


def damage(file: Path, kind: str) -> None:
    content = file.read_bytes()
    file.unlink()
    if kind == "a folder":
        file.mkdir()
    elif kind != "removed":
        file.write_bytes(DAMAGES[kind](content))


def add_results(paths):
    """Add to synthetic records the files that lie beside them in a real sweep."""
    matches = match(*random_case(3, "segm", images=6), "segm")
    rng = np.random.default_rng(0)
    for cell in read_cells(paths.cells):
        run, training = paths.run(cell.run_id), paths.training(cell.training_id)
        np.savez_compressed(run.resamples, images=6, **{"segm/AP": 38 + rng.normal(size=RESAMPLES)})
        matches.save(run.matches("segm"))
        run.pictures.mkdir()
        Image.fromarray(rng.integers(0, 255, (16, 32, 3), np.uint8)).save(run.pictures / "7.png")
        for stage in (run, training):
            stage.config.write_text("seed: 0\n")
        record = json.loads(training.record.read_text())
        training.record.write_text(json.dumps({**record, "iterations": 300}))


@dataclass
class Report:
    """The text of a report, all that it says of damage, and the files of its sweep."""

    text: str
    remarks: str


def report(folder):
    findings, page = build(folder)
    sweep = findings.sweep
    remarks = " ".join([*(p.reason for p in (*sweep.remarks, *sweep.failures)), *(r.run_id for r in sweep.remarks)])
    return Report((page.parent / "report.md").read_text().replace(str(folder), "FOLDER"), remarks)


def results(folder):
    return {
        file.relative_to(folder): file.read_bytes() if file.is_file() else b""
        for part in ("runs", "trainings", "cells.jsonl", "sweep.json")
        for file in ([folder / part] if (folder / part).is_file() else (folder / part).rglob("*"))
        if file.name != FILE
    }


@pytest.fixture
def quick(monkeypatch):
    """Of the figures draw only the one that reads files of its own, render nothing, and leave files unsynced."""
    monkeypatch.setattr(catalog, "FIGURES", [spec for spec in catalog.FIGURES if spec.name == "detections"])
    monkeypatch.setattr("ablation.report.build._save", lambda *_: None)
    monkeypatch.setattr("ablation.records.atomic.sync", lambda _: None)


@pytest.fixture
def whole(tmp_path, quick):
    paths = make_sweep(tmp_path / "whole", {"noise.sigma": [0, 0.5], "seed": [0]})
    add_results(paths)
    return paths.folder


@pytest.mark.parametrize("pattern", FILES)
def test_a_damaged_file_is_named(whole, tmp_path, pattern):
    before = report(whole)
    assert not before.remarks
    for kind in DAMAGES if Path(pattern).name not in NOT_READ else ("empty", "random", "a folder"):
        folder = shutil.copytree(whole, tmp_path / "damaged" / "whole")
        file = sorted(folder.glob(pattern))[0]
        damage(file, kind)
        damaged = results(folder)
        try:
            after = report(folder)
        except AblationError as error:
            assert file.name in str(error), kind
            assert len(str(error).splitlines()) <= 3
        else:
            is_named = file.name in after.remarks or kind == "removed" or (file.name, kind) in HARMLESS
            assert is_named or after.text == before.text, (kind, after.remarks)
            assert "allow_pickle" not in after.text
            if file.name in NOT_READ:
                assert after.text == before.text
        assert results(folder) == damaged
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_command_repairs_a_real_sweep(in_process, micro, tmp_path):
    arguments = [*(o for o in micro if not o.startswith("sweep.root=")), "evaluation.pictures=1", "noise.sigma=0,0.5"]

    root, folder = tmp_path / "sweeps", tmp_path / "sweeps" / "micro-shapes"

    def repeat():
        result = in_process(main, *arguments, f"sweep.root={root}")
        assert result.status == 0, result.err
        return pd.read_csv(folder / "report" / "runs.csv")

    table = repeat()
    whole = folder.rename(tmp_path / "whole")
    for pattern in (pattern.replace("segm", "bbox").replace("7.png", "*.png") for pattern in FILES):
        for kind in ("half", "zeros", "a folder"):
            shutil.copytree(whole, folder)
            file = sorted(folder.glob(pattern))[0]
            damage(file, kind)
            # A report's own event files are written with it, so a folder in their place ends it.
            if not (kind == "a folder" and file.name == FILE):
                pd.testing.assert_frame_equal(repeat(), table)
            shutil.rmtree(folder)
