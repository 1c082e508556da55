"""The report of a sweep, from its records alone: loading, statistics, figures, document."""
