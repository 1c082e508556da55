"""Run tasks in worker processes. Knows neither Hydra nor torch."""
