"""The model configs and weights that ship with this package."""
