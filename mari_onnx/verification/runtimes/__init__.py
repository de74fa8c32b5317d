"""The runtimes in which models are run, one file each."""
