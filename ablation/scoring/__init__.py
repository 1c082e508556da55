"""COCO scores from stored matches, equal to those of pycocotools and computable over any multiset of images."""

from ablation.scoring.accumulation import METRICS, accumulate, score_resamples
from ablation.scoring.matches import Matches

__all__ = ["METRICS", "Matches", "accumulate", "score_resamples"]
