"""Archives of NumPy arrays (.npz) that may be damaged."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ablation.records.errors import RecordError, first_line

EVALUATE_AGAIN = "To evaluate the run again with its weights, remove its record.json and repeat the sweep's command."


@contextmanager
def open_archive(path: Path, content: str) -> Iterator[Any]:
    """Open an archive; what is raised while it is read becomes a RecordError that names the file.

    Args:
        path: The file.
        content: What it should hold, for the message.

    Raises:
        FileNotFoundError: The file does not exist.
        RecordError: The file is damaged or holds something else.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):  # NumPy would take it for a pickle and advise to load it unsafely
                raise ValueError("it is no .npz archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen types
        raise RecordError(f"{path} cannot be read as {content}: {first_line(error)}. {EVALUATE_AGAIN}") from error
