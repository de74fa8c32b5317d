"""The same graphs in every run; `python -m tests.property.fuzz` is for others."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile(
    "graphs",
    max_examples=250,
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("graphs")
