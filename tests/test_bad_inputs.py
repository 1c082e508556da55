"""Every bad input ends in a short message that names it, before anything starts, and without a traceback."""

from __future__ import annotations

import pytest
from bad_inputs import command_line, datasets, reports, weights

from ablation.preview.__main__ import main as preview
from ablation.report.__main__ import main as report

INPUTS = [*command_line.INPUTS, *datasets.INPUTS, *weights.INPUTS, *reports.INPUTS]
LINES = 3  # of a refusal, at most


@pytest.mark.parametrize("bad", INPUTS, ids=str)
def test_a_bad_input_is_refused_with_what_it_is_called(bad, command, bare_command, in_process, root, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    arguments = bad.arguments.split(" ") if isinstance(bad.arguments, str) else bad.arguments(files)
    match bad.program:
        case "run":
            result = command(*arguments)
        case "bare run":
            result = bare_command(*arguments)
        case "report":
            result = in_process(report, *arguments)
        case "preview":
            result = in_process(preview, *arguments)
    assert result.status == bad.status, result.out + result.err
    assert [name for name in bad.names if name not in result.err] == [], result.err
    assert "Traceback" not in result.out + result.err
    if bad.status == 1:  # argparse adds the usage
        assert len(result.err.strip().splitlines()) <= LINES
    assert not root.exists()
