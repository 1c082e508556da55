"""What the fork server imports once, so that every run starts with it: torch, detectron2 and the recipe."""

import warnings

# detectron2 scripts two small functions with an API that torch has deprecated; no user of a sweep can mend that.
warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*", category=FutureWarning)

from ablation import execute  # noqa: E402, F401
