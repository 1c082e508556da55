"""The cells of a sweep folder, and what to say of a folder that has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablation.records.cells import Cell, parse_cells
from ablation.records.errors import AblationError
from ablation.records.paths import SweepPaths


def find_cells(paths: SweepPaths) -> tuple[list[Cell], list[str]]:
    """Return the cells that can be read, and why the others cannot.

    Raises:
        AblationError: The folder is no sweep, or none of its cells can be read.
    """
    try:
        is_sweep = paths.cells.exists()
    except OSError as error:  # such as a name that is too long
        raise AblationError(f"{paths.folder} cannot be read: {error.strerror}. Give the folder of a sweep.") from error
    if not is_sweep:
        raise AblationError(_explain(paths.folder))
    cells, damage = parse_cells(paths.cells)
    if not cells:
        reason = f"cannot be read: {damage[0]}" if damage else "is empty: no cell was requested"
        raise AblationError(f"{paths.cells} {reason}. Repeat the command of the sweep, which writes it again.")
    return cells, damage


def _explain(folder: Path) -> str:
    """Say why a folder is no sweep, and which sweeps are near."""
    reason = "holds no cells.jsonl" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
    around = next((parent for parent in folder.absolute().parents if (parent / "cells.jsonl").is_file()), None)
    inside, beside = (sorted(file.parent.name for file in at.glob("*/cells.jsonl")) for at in (folder, folder.parent))
    if around:
        there = f"It lies in the sweep {around}."
    elif inside or beside:
        there = f"Sweeps {'in' if inside else 'beside'} it: {_list_some(inside or beside)}."
    else:
        there = f"There is no sweep in {folder.parent}."
    return f"{folder} is no sweep: it {reason}. {there} Give the folder of a sweep, or start one first."


def _list_some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join([*names[:most], *([f"and {len(names) - most} more"] if len(names) > most else [])])
