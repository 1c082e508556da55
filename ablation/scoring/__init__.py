"""COCO scores as pycocotools gives them, from matches that are kept: fast, and re-countable over any set of images."""

from ablation.scoring.accumulation import METRICS, accumulate, resampled
from ablation.scoring.matches import Matches

__all__ = ["METRICS", "Matches", "accumulate", "resampled"]
