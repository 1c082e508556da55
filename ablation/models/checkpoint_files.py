"""What the bytes of a file say about it before anybody loads it as a checkpoint. Loads no torch."""

from __future__ import annotations

import string
import zipfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

_STARTS: Mapping[bytes, str] = {
    b"version https://git-lfs": "a pointer of Git LFS, which `git lfs pull` replaces by the file",
    b"<": "an HTML or XML page",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"%PDF": "a PDF file",
    b"\x1f\x8b": "compressed by gzip, so unpack it",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
}
_PICKLE_STARTS = (b"(", b"c", b"}")  # of the oldest protocol, which is text
_TEXT = frozenset(string.printable.encode())


def find_problem(path: Path) -> str:
    """Return why a file cannot be a whole checkpoint, to follow "<file> is"; '' if its format is sound.

    The values of the arrays are not read, so this takes no time.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
        file.seek(max(0, size - 1))
        end = file.read()
    if not start.strip():
        return "empty"
    # Its header, a length and then JSON, may begin with any byte.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size:
        return (
            _damage_of_safetensors(path) if path.suffix == ".safetensors" else "of the kind that is called .safetensors"
        )
    for beginning, what in _STARTS.items():
        if start.lstrip().startswith(beginning):
            return what
    if start.startswith(b"PK") and (problem := _problem_of_zip(path)):
        return problem
    if _TEXT.issuperset(start) and not (start.startswith(_PICKLE_STARTS) and end == b"."):
        return "text"
    if path.suffix == ".safetensors":
        is_torch = start.startswith((b"PK", b"\x80\x02"))
        return "a checkpoint of PyTorch, which is called .pth" if is_torch else _damage_of_safetensors(path)
    return ""


def _damage_of_safetensors(path: Path) -> str:
    try:
        with safe_open(path, "numpy"):
            return ""
    except SafetensorError as error:
        return f"damaged ({error})"


def _problem_of_zip(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "damaged (its end is missing)"
    with zipfile.ZipFile(path) as archive:
        is_checkpoint = any(name.endswith("data.pkl") for name in archive.namelist())
    return "" if is_checkpoint else "a zip archive of something else"
