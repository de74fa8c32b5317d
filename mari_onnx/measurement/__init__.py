"""The time and the memory of calls: how much faster a model is than another, on this machine."""
