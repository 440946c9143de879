"""Management commands: the worker, and the status."""
