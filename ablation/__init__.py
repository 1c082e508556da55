"""What does feature noise do to a detector? Hydra-configured ablation sweeps for detectron2."""

__version__ = "0.1.0"
