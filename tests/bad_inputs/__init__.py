"""Bad inputs by subject, for `tests/test_bad_inputs.py`: how each is made and what its refusal must name."""
