"""What each command loads, and what of the import rules import-linter cannot express (the rest: pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys

import grimp
import pytest
from conftest import ROOT

from ablation import noise

# The packages whose code decides results; `ablation.sweep.deciding_code` says which part of them decided which.
DECISIVE = {"data", "evaluation", "execute", "models", "noise", "scoring", "training"}
HEAVY = {"torch", "torchvision", "detectron2", "fvcore"}
# The commands and what they show; records and processes carry results without changing them, and what the
# configuration decides stands in the ids.
HARMLESS = {"completion", "config", "preload", "preview", "processes", "records", "report", "run", "sweep"}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(
        "ablation", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


@pytest.mark.parametrize(("package", "allowed"), [("records", set()), ("scoring", {"numpy"})])
def test_a_package_needs_the_standard_library_only_or_little_more(graph, package, allowed):
    modules = {f"ablation.{package}", *graph.find_descendants(f"ablation.{package}")}
    imported = set().union(*map(graph.find_modules_directly_imported_by, modules))
    foreign = {name for name in imported if graph.is_module_squashed(name)}
    assert foreign - sys.stdlib_module_names == allowed


def test_every_package_either_decides_results_or_is_known_not_to(graph):
    assert {name.removeprefix("ablation.") for name in graph.find_children("ablation")} == DECISIVE | HARMLESS


def loaded_by(code, *arguments):
    """Output and top-level modules of a fresh process that runs some code."""
    script = (
        "import sys\ntry:\n    " + code.replace("\n", "\n    ") + "\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", script, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    text, _, modules = output.rpartition("MODULES")
    return text, set(modules.split())


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("ablation.sweep.plan, ablation.sweep.sweep, ablation.sweep.display", HEAVY),
        ("ablation.config.schemas, ablation.noise, ablation.models.locate, ablation.data.survey", HEAVY),
        ("ablation.processes.launch, ablation.processes.worker", {*HEAVY, "hydra", "omegaconf", "numpy"}),
        ("ablation.scoring, ablation.scoring.bootstrap", {*HEAVY, "pycocotools", "pandas", "scipy"}),
        ("ablation.report.build, ablation.report.tensorboard", {*HEAVY, "pycocotools", "hydra", "omegaconf"}),
    ],
)
def test_a_part_loads_only_what_it_needs(modules, absent):
    assert not loaded_by(f"import {modules}")[1] & absent


def test_a_completion_loads_nothing_heavy(monkeypatch):
    monkeypatch.setenv("COMP_LINE", "ablation-run noise=ga")
    text, modules = loaded_by("from ablation.run import main\nmain()", "-sc", "query=bash")
    assert text.split() == ["noise=gaussian"]
    assert not modules & {*HEAVY, "pydantic", "pandas", "numpy", "rich"}


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]], ids=" ".join)
def test_help_and_configuration_are_shown_without_heavy_modules(arguments):
    text, modules = loaded_by("from ablation.run import main\nmain()", *arguments)
    assert "noise:" in text
    assert not modules & {*HEAVY, "pydantic", "pandas", "numpy", "rich", "matplotlib", "seaborn", "jinja2"}


def test_the_help_names_every_noise_type_and_every_key():
    text, _ = loaded_by("from ablation.run import main\nmain()", "--help")
    line = next(line for line in text.splitlines() if line.startswith("noise: "))
    assert line.removeprefix("noise: ").split(", ") == sorted([*noise.available(), "none"])
    for key in ("sigma:", "levels:", "when:", "seed:", "iterations:", "dry_run:"):
        assert key in text
