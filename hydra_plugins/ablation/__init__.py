"""Hydra plugins of this package: the sweeper that plans and the launcher that pools."""
