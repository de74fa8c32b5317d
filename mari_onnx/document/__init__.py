"""Models as files. Nothing outside this folder knows about paths and external data."""
