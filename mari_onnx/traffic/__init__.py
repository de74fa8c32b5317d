"""Traffic: recorded requests in Parquet, replayed through two models, and a table of items, run through one of them."""
