"""Models as files: reading, checking and writing. No other folder handles paths of models or external data."""
