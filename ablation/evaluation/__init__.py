"""Evaluation: detections to metrics, robustness under noise and corruptions, kinds of error, pictures."""
