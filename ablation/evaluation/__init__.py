"""Evaluation: metrics of detections, robustness to noise and corruptions, kinds of error, pictures."""
