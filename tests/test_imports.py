"""Imports flow one way, and each command loads only what it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from ablation import noise
from ablation.records.provenance import DECISIVE

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ablation"
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))

# The picture of the design, from left to right: nobody imports, directly or through others, what stands further right.
CHAINS = [
    [
        {"errors"},
        {"record", "config", "noise"},
        {"injection", "models", "datasets"},
        {"training", "evaluation"},
        {"ranks"},
        {"execute"},
    ],
    [{"record", "config"}, {"plan"}, {"sweep"}, {"run"}],
    [
        {"record", "curves"},
        {"shelf"},
        {"frames", "rerun"},
        {"table"},
        {"stats"},
        {"look", "results"},
        {"blocks"},
        {"answer", "plots", "charts", "views", "dashboard"},
        {"figures"},
        {"contents", "latex"},
        {"markdown", "page"},
        {"report"},
    ],
    [{"paired"}, {"power", "decision", "aggregate"}, {"stats"}],
]
REPORTING = {"curves", "paired", "power", "decision", "aggregate"} | set().union(*CHAINS[2][1:])
HEAVY = {"torch", "torchvision", "detectron2", "fvcore"}


def _part(name):
    """The name in the picture: datasets and noise stand for all their modules."""
    return name.split("/")[0]


@cache
def _imports(name):
    """Own modules and foreign top-level packages that a module imports anywhere in its text."""
    own, foreign = set(), set()
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for dotted in names:
            parts = dotted.split(".")
            if parts[0] != "ablation":
                foreign.add(parts[0])
                continue
            for length in (len(parts), len(parts) - 1):
                path = "/".join(parts[1:length])
                if path in MODULES or f"{path}/__init__" in MODULES:
                    own.add(path if path in MODULES else f"{path}/__init__")
                    break
    return frozenset(own - {name}), frozenset(foreign)


@cache
def _reached(part):
    seen, to_do = set(), [name for name in MODULES if _part(name) == part]
    while to_do:
        for name in _imports(to_do.pop())[0] - seen:
            seen.add(name)
            to_do.append(name)
    return frozenset(_part(name) for name in seen)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: " <- ".join("/".join(sorted(stage)) for stage in chain))
def test_imports_flow_one_way(chain):
    for position, stage in enumerate(chain):
        later = set().union(*chain[position + 1 :])
        for part in stage:
            assert not _reached(part) & later, f"{part} reaches {_reached(part) & later}"


def test_no_module_reaches_itself():
    for name in MODULES:
        seen, to_do = set(), [name]
        while to_do:
            for other in _imports(to_do.pop())[0] - seen:
                seen.add(other)
                to_do.append(other)
        assert name not in seen or name == "run", f"{name} imports itself through others"


def test_errors_and_progress_import_nothing_of_ours():
    assert not _imports("errors")[0] and not _imports("progress")[0]


def test_records_need_the_standard_library_only():
    assert _reached("record") == {"errors", "disk", "failure"}
    for name in ("record", "paths", *_reached("record")):
        assert _imports(name)[1] <= sys.stdlib_module_names


def test_every_module_that_can_decide_a_result_is_a_part_of_the_version():
    harmless = {"config", "identity", "locate"}  # what they decide stands in the ids
    harmless |= {
        "errors",
        "failure",
        "provenance",
        "progress",
        "pictures",
        "record",
        "paths",
        "disk",
        "launch",
        "worker",
    }
    assert {"execute", *_reached("execute")} - harmless == set(DECISIVE)


def test_the_launcher_knows_neither_hydra_nor_torch():
    assert not _imports("launch")[1] & {"hydra", "omegaconf", *HEAVY}


@pytest.mark.parametrize("name", sorted(REPORTING))
def test_the_half_that_reports_never_imports_the_half_that_trains(name):
    assert not _imports(name)[1] & HEAVY
    assert not _reached(name) & {"injection", "models", "datasets", "training", "evaluation", "execute", "noise"}


def _loaded(code, *arguments):
    """Top-level modules that a fresh process has after running some code."""
    script = (
        "import sys\ntry:\n    " + code.replace("\n", "\n    ") + "\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", script, *arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    text, _, modules = told.rpartition("MODULES")
    return text, set(modules.split())


@pytest.mark.parametrize("name", ["launch", "plan", "sweep", "identity", "locate", "config", "noise", "display"])
def test_planning_and_launching_load_no_torch(name):
    assert not _loaded(f"import ablation.{name}")[1] & HEAVY


def test_checking_data_loads_no_torch():
    assert not _loaded("import ablation.datasets.files, ablation.datasets.shapes")[1] & HEAVY


def test_the_report_loads_neither_torch_nor_detectron2():
    assert not _loaded("import ablation.report, ablation.dashboard")[1] & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]], ids=" ".join)
def test_help_and_configuration_are_shown_without_heavy_modules(arguments):
    text, modules = _loaded("from ablation.run import main\nmain()", *arguments)
    assert "noise:" in text
    assert not modules & {*HEAVY, "pydantic", "pandas", "numpy", "rich", "matplotlib"}


def test_the_help_names_every_noise_type_and_every_key():
    text, _ = _loaded("from ablation.run import main\nmain()", "--help")
    line = next(line for line in text.splitlines() if line.startswith("noise: "))
    assert line.removeprefix("noise: ").split(", ") == sorted([*noise.available(), "none"])
    for key in ("sigma:", "levels:", "when:", "seed:", "iterations:", "dry_run:"):
        assert key in text
