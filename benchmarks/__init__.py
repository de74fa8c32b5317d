"""Benchmarks of models before and after, and of the optimizer's own time: `python -m benchmarks`."""
