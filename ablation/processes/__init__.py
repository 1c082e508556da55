"""Tasks to worker processes to outcomes. Knows neither Hydra nor torch."""
