"""How optimized models are served; run by the tests."""
