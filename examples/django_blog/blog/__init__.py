"""A blog whose posts are found by meaning."""
