"""Remove the compiled operators that the pinned wheel of detectron2 brings.

They were built for Python 3.10, CUDA 12 and another torch, and Python 3.10 would load them as soon as the system has a
libcudart.so.12. Nothing here needs them. A detectron2 from elsewhere is left as it is.
"""

import importlib.util
from importlib import metadata
from pathlib import Path

PINNED = "sal-detectron2"  # as in requirements-detectron2.txt


def main() -> None:
    """Delete `detectron2/_C.*` if detectron2 is the pinned wheel."""
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return
    folder = Path(spec.origin).parent
    if any(Path(str(d.locate_file("detectron2"))) == folder for d in metadata.distributions(name=PINNED)):
        for file in folder.glob("_C.*"):
            file.unlink()


if __name__ == "__main__":
    main()
