"""The built-in data set: generated images of shapes or cells, with exact masks."""
