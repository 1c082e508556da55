"""Sweep folders that the report reads."""

from __future__ import annotations

from bad_inputs.bad_input import BadInput

INPUTS: list[BadInput] = []
