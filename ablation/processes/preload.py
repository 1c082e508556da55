"""What the fork server imports once, so that every run starts with it: torch, detectron2, recipe and writers."""

import warnings

# detectron2 scripts two small functions with an API that torch has deprecated; no user of a sweep can mend that.
warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*", category=FutureWarning)

import torch.utils.tensorboard  # noqa: E402, F401 - detectron2 imports it when the first writer is made

from ablation import execute  # noqa: E402, F401
