"""Measurements behind the figures of the README and the docs; `make bench` runs them all."""
