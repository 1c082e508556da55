"""Flags, keys, values and their syntax, and folders that the command line names."""

from __future__ import annotations

from bad_inputs.bad_input import BadInput

INPUTS = [
    BadInput("a key with an accent", "noise.sigmá=0.1", ("noise.sigmá",)),
]
