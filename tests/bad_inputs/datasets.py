"""Data sets: JSON, annotations, images, generated data."""

from __future__ import annotations

from bad_inputs.bad_input import BadInput

INPUTS: list[BadInput] = []
