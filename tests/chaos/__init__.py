"""A run of random work under random faults, repeatable by its seed: ``make chaos SECONDS=180 SEED=1``."""
