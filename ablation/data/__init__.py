"""Data sets that a sweep trains and tests on."""
