"""Sweep folders that the report reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bad_inputs.bad_input import BadInput

CELL = {
    "run_id": "run-1",
    "training_id": "training-1",
    "factors": {"noise.sigma": 0.1},
    "config": {"noise.sigma": 0.1, "seed": 0},
    "sigma": 0.1,
}
REPEAT = "Repeat the command of the sweep"


def _sweep(folder: Path, name: str = "sweep") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "cells.jsonl").write_text(json.dumps(CELL) + "\n")
    return folder / name


def _cells(content: str | bytes) -> Callable[[Path], list[str]]:
    """A sweep whose cells.jsonl holds this."""

    def make(folder: Path) -> list[str]:
        data = content if isinstance(content, bytes) else content.encode()
        (_sweep(folder) / "cells.jsonl").write_bytes(data)
        return [str(folder / "sweep")]

    return make


def _cell(**changes: object) -> Callable[[Path], list[str]]:
    return _cells(json.dumps({**CELL, **changes}) + "\n")


def _inside(path: str) -> Callable[[Path], list[str]]:
    """A sweep and a path below it; one with a suffix is a file."""

    def make(folder: Path) -> list[str]:
        place = _sweep(folder) / path
        if place.suffix:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        else:
            place.mkdir(parents=True)
        return [str(place)]

    return make


def _beside(*arguments: str) -> Callable[[Path], list[str]]:
    """Sweeps a and b, b also by the link c, and an empty folder; {} in the arguments is the folder that holds them."""

    def make(folder: Path) -> list[str]:
        for name in "ab":
            _sweep(folder, name)
        (folder / "c").symlink_to("b")
        (folder / "loop").symlink_to("loop")
        (folder / "dangling").symlink_to("nowhere")
        (folder / "empty").mkdir()
        (folder / "file").touch()
        return [argument.format(folder) for argument in arguments]

    return make


def _cells_folder(folder: Path) -> list[str]:
    (_sweep(folder) / "cells.jsonl").unlink()
    (folder / "sweep" / "cells.jsonl").mkdir()
    return [str(folder / "sweep")]


def _report(what: str, arguments: str | Callable[[Path], list[str]], *names: str, status: int = 1) -> BadInput:
    return BadInput(what, arguments, names, "report", status)


INPUTS = [
    _report("no folder to report on", lambda _: [], "arguments are required: FOLDER", status=2),
    _report("an unknown flag of the report", _beside("{}/a", "--format", "pdf"), "--format pdf", "--out", status=2),
    _report("--out without a folder", _beside("{}/a", "--out"), "--out: expected one argument", status=2),
    _report("an unknown flag with an equals sign", _beside("{}/a", "--output={}/x"), "--output", status=2),
    _report(
        "a folder that does not exist", _beside("{}/none"), "/none is no sweep: it does not exist", "beside it: a, b"
    ),
    _report("an empty name of a folder", _beside("", "{}/a"), "is no sweep", "Give the folder of a sweep"),
    _report(
        "a folder without a sweep near",
        lambda folder: [str(folder / "x" / "y")],
        "/x/y is no sweep",
        "There is no sweep in",
        "start one first",
    ),
    _report("the folder above the sweeps", _beside("{}"), "holds no cells.jsonl", "Sweeps in it: a, b, c."),
    _report(
        "the folder above many sweeps",
        lambda folder: [str(_sweep(folder, f"s{i:02}").parent) for i in range(30)][:1],
        "s00, s01",
        "s09, and 20 more",
    ),
    _report("an empty folder beside sweeps", _beside("{}/empty"), "/empty is no sweep", "Sweeps beside it: a, b, c."),
    _report(
        "a file in place of a sweep", _beside("{}/file"), "/file is no sweep: it is a file", "Sweeps beside it: a, b"
    ),
    _report("a folder below a file", _beside("{}/file/sweep"), "/file/sweep is no sweep", "does not exist"),
    _report("a link to nothing", _beside("{}/dangling"), "/dangling is no sweep", "does not exist"),
    _report("a link to itself", _beside("{}/loop"), "/loop is no sweep"),
    _report("the report of a sweep", _inside("report"), "/sweep/report is no sweep", "It lies in the sweep", "/sweep."),
    _report("the page of a report", _inside("report/index.html"), "it is a file", "It lies in the sweep"),
    _report("a run of a sweep", _inside("runs/run-1"), "/runs/run-1 is no sweep", "It lies in the sweep"),
    _report("the trainings of a sweep", _inside("trainings"), "It lies in the sweep"),
    _report(
        "the cells of a sweep", lambda folder: [f"{_sweep(folder)}/cells.jsonl"], "it is a file", "lies in the sweep"
    ),
    _report(
        "a name longer than a file system allows", _beside("{}/" + "x" * 300), "xxx cannot be read: File name too long"
    ),
    _report("a path longer than a system allows", _beside("{}/" + "x/" * 3000), "cannot be read: File name too long"),
    _report("a sweep twice", _beside("{}/a", "{}/a"), "/a are the same sweep", "Name it once"),
    _report("a sweep twice, once with dots", _beside("{0}/a", "{0}/empty/../a"), "/empty/../a are the same sweep"),
    _report("a sweep twice, once with a slash", _beside("{0}/a", "{0}//a/"), "are the same sweep"),
    _report("a sweep twice, once by a link", _beside("{}/b", "{}/c"), "/b and", "/c are the same sweep"),
    _report("a sweep twice among three", _beside("{}/b", "{}/a", "{}/c"), "/c are the same sweep"),
    _report("a sweep and what is none", _beside("{}/a", "{}/empty"), "/empty is no sweep", "holds no cells.jsonl"),
    _report("a report below a file", _beside("{}/a", "--out", "{}/file/x"), "/file/x", "Not a directory", "--out"),
    _report(
        "a report in place of a file", _beside("{}/a", "--out", "{}/file"), "cannot be written to", "/file", "--out"
    ),
    _report(
        "a report with too long a name", _beside("{}/a", "--out", "{}/" + "x" * 300), "File name too long", "--out"
    ),
    _report("an empty file of cells", _cells(""), "/cells.jsonl is empty", REPEAT),
    _report("a blank file of cells", _cells("\n"), "cells.jsonl cannot be read: line 1 is not a cell", REPEAT),
    _report("a folder in place of the cells", _cells_folder, "cells.jsonl cannot be read: it is a folder"),
    _report("cells that are torn", _cells(json.dumps(CELL)[:50]), "line 1 is not a cell", REPEAT),
    _report("cells of zero bytes", _cells(b"\0" * 200), "line 1 is not a cell", REPEAT),
    _report("cells of other bytes", _cells(bytes(range(128, 256))), "line 1 is not a cell", REPEAT),
    _report("cells in UTF-16", _cells(json.dumps(CELL).encode("utf-16")), "is not a cell", REPEAT),
    _report("a number in place of a cell", _cells("3\n"), "line 1 is not a cell", REPEAT),
    _report("a cell without a run", _cells('{"training_id": "t"}\n'), "line 1 is not a cell", "run_id", REPEAT),
    _report("a cell with an unknown field", _cell(colour="red"), "line 1 is not a cell", "colour", REPEAT),
    _report("a cell that leads out of its folder", _cell(run_id="../../x"), "run_id is no name of a folder: '../../x'"),
    _report("a cell of the folder above", _cell(training_id=".."), "training_id is no name of a folder: '..'"),
    _report("a cell without a name", _cell(run_id=""), "run_id is no name of a folder: ''"),
    _report("a cell with a number for a name", _cell(run_id=3), "run_id is no name of a folder: 3"),
    _report("a cell whose factors are a list", _cell(factors=[]), "factors and config must be objects"),
    _report("a cell without a configuration", _cell(config=None), "factors and config must be objects"),
    _report("a cell with a text for sigma", _cell(sigma="0.1"), "sigma must be a number from 0 on, got '0.1'"),
    _report("a cell with a negative sigma", _cell(sigma=-1), "sigma must be a number from 0 on, got -1"),
    _report("a cell with NaN for sigma", _cell(sigma=float("nan")), "sigma must be a number from 0 on, got nan"),
    _report("a cell with a sigma that is damage", _cell(sigma=1e308), "sigma must be a number from 0 on, got 1e+308"),
    _report("a cell with a text for a seed", _cell(config={"seed": "one"}), "seed must be an integer, got 'one'"),
    _report("deeply nested cells", _cells("[" * 100_000), "line 1 is not a cell", REPEAT),
]
