"""Records survive what happens to files: crashes in the middle of a write, foreign content, other versions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from ablation.records import history
from ablation.records.atomic import replacing, write_text
from ablation.records.cells import Cell, parse_cells, write_cells
from ablation.records.errors import RecordError
from ablation.records.failure import Failure
from ablation.records.paths import SweepPaths
from ablation.records.schema import LevelTelemetry, RunRecord, Status, TrainingRecord
from ablation.records.storage import read_record, write_record

RUN = RunRecord(
    Status.COMPLETED,
    seed=3,
    started=1.0,
    finished=3.0,
    seconds=2.0,
    telemetry={"p2": LevelTelemetry(calls=4, signal_rms=2.0, noise_rms=0.2)},
    environment={"torch": "2.x"},
    run_id="r",
    training_id="t",
    metrics={"bbox/AP": 12.5, "bbox/APl": None},
    flags=("a remark",),
)
DIVERGED = TrainingRecord(Status.DIVERGED, seed=0, error=Failure("diverged", "It diverged at iteration 3 of 6."))
FAILED = TrainingRecord(Status.FAILED, seed=0, error=Failure("signal", "Died of SIGSEGV.", "Look.", "/log"))


RUNNING = TrainingRecord(Status.RUNNING, 1, training_id="t", losses={"l": 0.5})


@pytest.mark.parametrize("record", [RUN, DIVERGED, FAILED, RUNNING])
def test_what_is_written_is_read_again(tmp_path, record):
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json", type(record)) == record


def test_a_missing_record_is_none(tmp_path):
    assert read_record(tmp_path / "none.json", RunRecord) is None


def test_the_ratio_and_its_decibels_follow_from_the_telemetry():
    telemetry = RUN.telemetry["p2"]
    assert telemetry.sigma == pytest.approx(0.1)
    assert telemetry.snr_db == pytest.approx(20.0)
    assert LevelTelemetry(1, 0.0, 1.0).sigma is None
    assert LevelTelemetry(1, 1.0, 0.0).snr_db is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: replace(FAILED, error=None), "A failed record needs an error."),
        (lambda: replace(RUN, error=Failure("exit", "x")), "A completed record cannot hold an error."),
        (lambda: replace(RUN, metrics={}), "Run r: metrics belong to completed runs, and to these only."),
        (
            lambda: replace(RUN, status=Status.FAILED, error=Failure("exit", "x")),
            "Run r: metrics belong to completed runs, and to these only.",
        ),
        (lambda: replace(RUN, status=Status.RUNNING), "Run r: metrics belong to completed runs, and to these only."),
    ],
)
def test_a_record_that_contradicts_itself_cannot_be_made(build, message):
    with pytest.raises(RecordError) as refused:
        build()
    assert str(refused.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_and_the_old_record_stays(tmp_path, value):
    path = tmp_path / "record.json"
    write_record(path, RUN)
    with pytest.raises(RecordError, match="cannot hold a value that is NaN or infinite"):
        write_record(path, replace(RUN, metrics={"bbox/AP": value}))
    assert read_record(path, RunRecord) == RUN


def _document(**changes):
    return json.dumps(json.loads(json.dumps(asdict(RUN))) | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as a record: Expecting value"),
        (_document()[:-40], "cannot be read as a record"),
        ("[" * 100_000, "cannot be read as a record"),
        ("[]", "is not a RunRecord of schema 1"),
        ("3", "is not a RunRecord of schema 1"),
        ("{}", "is not a RunRecord of schema 1: 'schema_version'"),
        (_document(schema_version=2), "is not a RunRecord of schema 1: it has schema 2"),
        (_document(colour="red"), r"unknown fields \['colour'\]"),
        (_document(status="finished"), "'finished' is not a valid Status"),
        (_document(status="failed"), "A failed record needs an error"),
        (_document(telemetry=[1]), "is not a RunRecord"),
        (_document(telemetry={"p2": {"calls": 1}}), "is not a RunRecord"),
        (_document(error="broken"), "is not a RunRecord"),
    ],
)
def test_a_damaged_or_foreign_or_newer_record_is_refused_with_its_path(tmp_path, content, message):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=message) as refused:
        read_record(path, RunRecord)
    assert str(refused.value).startswith(str(path))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "0"},
        {"seed": None},
        {"status": ["completed"]},
        {"metrics": [1.0]},
        {"metrics": {"segm/AP": "much"}},
        {"flags": "all"},
        {"flags": [3]},
        {"grid": {"a": 1}},
        {"grid": [{"type": "gaussian"}]},
        {"corruptions": [[]]},
        {"telemetry": {"p2": {"calls": 1, "signal_rms": 1.0, "noise_rms": "0"}}},
        {"error_shift": {"bbox": 3}},
        {"environment": []},
        {"seconds": True},
        {"run_id": 3},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused(tmp_path, changes):
    (tmp_path / "record.json").write_text(_document(**changes))
    with pytest.raises(RecordError, match=r"record\.json is not a RunRecord"):
        read_record(tmp_path / "record.json", RunRecord)


def test_a_record_of_the_other_kind_is_refused(tmp_path):
    write_record(tmp_path / "record.json", FAILED)
    with pytest.raises(RecordError, match="is not a RunRecord"):
        read_record(tmp_path / "record.json", RunRecord)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "record.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(RecordError, match="cannot be read as a record"):
        read_record(tmp_path / "record.json", RunRecord)


def test_an_exception_in_the_middle_of_a_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from ablation.records.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('ne'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_colleagues_may_read_what_the_umask_allows(tmp_path):
    mask = os.umask(0o022)
    try:
        write_text(tmp_path / "file", "x")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
        os.umask(0o077)
        write_text(tmp_path / "private", "x")
        assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)


CELLS = [
    Cell("r1", "t1", {"noise.levels": ["p2"]}, {"seed": 0}, 0.1),
    Cell("r2", "t1", {}, {"seed": 1, "noise": "σ"}, None),
]


def test_cells_are_read_in_their_order(tmp_path):
    write_cells(tmp_path / "cells.jsonl", CELLS)
    assert parse_cells(tmp_path / "cells.jsonl") == (CELLS, [])
    assert parse_cells(tmp_path / "none.jsonl") == ([], [])


@pytest.mark.parametrize("line", ["{", "3", '{"run_id": "r"}', '{"colour": "red"}'])
def test_a_foreign_line_among_the_cells_is_named(tmp_path, line):
    path = tmp_path / "cells.jsonl"
    write_cells(path, CELLS)
    path.write_text(path.read_text() + line + "\n")
    cells, damage = parse_cells(path)
    assert cells == CELLS
    assert len(damage) == 1
    assert damage[0].startswith("line 3 is not a cell: ")


def test_a_torn_last_line_loses_no_other_cell(tmp_path):
    path = tmp_path / "cells.jsonl"
    write_cells(path, [*CELLS, CELLS[0]])
    path.write_bytes(path.read_bytes()[:-9])
    cells, damage = parse_cells(path)
    assert cells == CELLS
    assert len(damage) == 1 and damage[0].startswith("line 3 is not a cell")


ENTRY = {"command": "x", "invalid": [{"factors": {"a": 1}, "reason": "no"}], "data": {"d": ["one", "two"]}}


def test_commands_are_kept_with_what_they_found(tmp_path):
    path = tmp_path / "sweep.json"
    for entry in ({"command": "first"}, ENTRY):
        history.append(path, entry)
    assert history.commands(path) == ("first", "x")
    assert history.refusals(path) == ("a=1: no",)
    assert history.data(path) == ("d: one; two",)
    assert history.damage(path) == ""


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b"3",
        b"{",
        b"\0\0",
        b"\xff",
        b'{"a": 1}',
        b"[3]",
        b'[{"invalid": [3]}]',
        b'[{"data": []}]',
        b'[{"data": {"d": 1}}]',
    ],
)
def test_a_damaged_history_is_no_history_and_is_set_aside(tmp_path, torn):
    path = tmp_path / "sweep.json"
    path.write_bytes(torn)
    assert history.damage(path)
    assert history.commands(path) == history.refusals(path) == history.data(path) == ()
    history.append(path, ENTRY)
    assert history.commands(path) == ("x",)
    assert (tmp_path / "sweep.torn").read_bytes() == torn


def test_a_folder_in_place_of_the_history_is_set_aside(tmp_path):
    (tmp_path / "sweep.json" / "kept").mkdir(parents=True)
    assert history.damage(tmp_path / "sweep.json")
    history.append(tmp_path / "sweep.json", ENTRY)
    assert (tmp_path / "sweep.torn" / "kept").is_dir()


def test_every_file_of_a_sweep_has_its_place(tmp_path):
    paths = SweepPaths(tmp_path)
    training, run = paths.training("t"), paths.run("r")
    named = [paths.sweep, paths.cells, paths.lock, paths.report, training.record, training.config, training.metrics]
    named += [training.weights, training.checkpoint, training.log, training.lock, run.record, run.config, run.log]
    assert len(set(named)) == len(named)
    assert training.record == tmp_path / "trainings" / "t" / "training.json"
    assert run.record == tmp_path / "runs" / "r" / "record.json"
