"""Comparisons of two models: outputs, the order of candidates, graphs, and the first tensor that differs."""
