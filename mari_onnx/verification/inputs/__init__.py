"""What models are run on: drawn calls, recorded calls, and the range that each input may be drawn from."""
