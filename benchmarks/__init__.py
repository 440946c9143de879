"""Benchmarks: one file a question, each answered beside its baseline in the same run."""
