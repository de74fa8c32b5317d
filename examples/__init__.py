"""Examples of serving optimized models. The tests run them."""
