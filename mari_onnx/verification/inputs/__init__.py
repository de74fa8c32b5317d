"""The inputs on which models are run: drawn calls, recorded calls, and the range from which each input is drawn."""
