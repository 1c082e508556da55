"""Records and logs to data frames."""
