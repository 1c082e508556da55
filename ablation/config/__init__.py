"""The configuration: composition by Hydra, typed schemas, and messages about invalid keys and values."""
