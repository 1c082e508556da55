"""COCO scores as pycocotools gives them, from matches that are kept: fast, and re-countable over any set of images."""

from ablation.scoring.accumulation import METRICS, accumulate, resampled
from ablation.scoring.matches import Matches
from ablation.scoring.matching import match

__all__ = ["METRICS", "Matches", "accumulate", "match", "resampled"]
