"""Splitting one model into two or three: the user model, optionally the item model, and the ranking model."""
