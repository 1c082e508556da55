"""Estimates, intervals, tests and decisions: functions of arrays and frames."""
