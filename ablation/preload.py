"""Imported once by the fork server, so that every run starts with torch, detectron2 and the writers loaded."""

import warnings

# detectron2 scripts two small functions with an API that torch has deprecated; users of a sweep cannot fix that.
warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*", category=FutureWarning)

import torch.utils.tensorboard  # noqa: E402, F401 - detectron2 imports it when the first writer is made

from ablation import execute  # noqa: E402, F401
from ablation.records import provenance  # noqa: E402
from ablation.sweep import deciding_code  # noqa: E402

# Every record holds both, and they are computed once in each process.
provenance.versions()
for part in deciding_code.USUAL_PARTS:
    deciding_code.fingerprint_part(part)
