"""Weights, checkpoints, model configs and keys of the plan."""

from __future__ import annotations

from bad_inputs.bad_input import BadInput

INPUTS: list[BadInput] = []
