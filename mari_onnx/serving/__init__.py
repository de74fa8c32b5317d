"""Serving modes: ways to call a written model, by the rows that the caller sends for a request.

Example: the original takes `user` [B, 4] with the user's row repeated for each candidate. A model written with
`--user-batch one` takes `user` [1, 4]. See `mode` for the list of modes.
"""
