"""What the models cost to run before and after, and what the optimizer costs itself: `python -m benchmarks`."""
