"""Files of a sweep folder and how they are read and written. Standard library only."""
