"""Words are completed in a real bash, whichever way the command is called."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from ablation.completion import completion_script

# Splits a line into words as an interactive bash does, also at =, calls the function, prints what it offers.
ASK = """
read -ra COMP_WORDS <<< "${COMP_LINE//=/ = }"
[[ $COMP_LINE == *[=\\ ] ]] && COMP_WORDS+=("")
COMP_POINT=${#COMP_LINE} COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
_ablation_run
echo "${COMPREPLY[@]}"
"""


@pytest.fixture
def completed(tmp_path):
    """What bash offers for a line; the commands in it are those of this environment."""
    for name, module in (("python", ""), ("ablation-run", "-m ablation.run")):
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (tmp_path / name).chmod(0o755)

    def ask(line):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "COMP_LINE": line}
        script = f"{completion_script(['-sc', 'install=bash'])}\n{ASK}"
        done = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        )
        return done.stdout.split(), done.stderr

    return ask


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ablation-run noise=ga", ["gaussian"]),
        ("python -m ablation.run noise.si", ["noise.sigma="]),
        ("python -m ablation.run -m seed=1 sweep.dry", ["sweep.dry_run="]),
        ("python script.py noise=ga", []),
    ],
)
def test_bash_completes_groups_and_keys(completed, line, offered):
    assert completed(line) == (offered, "")


def test_the_script_is_printed_and_taken_back(in_process):
    from ablation import run

    assert "complete -o nospace" in in_process(run.main, "-sc", "install=bash").out
    assert in_process(run.main, "-sc", "uninstall=bash").out.startswith("complete -r ablation-run")
    assert completion_script(["-sc", "query=bash"]) is None
