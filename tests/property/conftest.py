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
    # A graph that fails is made smaller by `fuzz`, node by node, in seconds; byte by byte it takes minutes.
    phases=(hypothesis.Phase.generate,),
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("graphs")
