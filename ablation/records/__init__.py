"""The ground floor: what a sweep leaves on disk and how it is written. Standard library only."""
