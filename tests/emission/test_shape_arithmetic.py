"""Shape arithmetic: extents are computed where they are not known."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emission.models import BODY, WEIGHTS
from tests.graphs import parse, ranking, rewrite_and_check


@pytest.mark.parametrize("opset", [11, 17])
def test_reshapes_to_several_symbols(opset: int) -> None:
    """[(B L) 4] back to [B L 4] of an input whose length is not known."""
    text = "g (float[1, L, 4] user, float[B, 4] item) => (float[B, L, 4] y)"
    shapes = (
        "s = Shape (user) l = Gather (s, one) i = Shape (item) b = Gather (i, zero) t = Concat <axis = 0> (b, l, four)"
    )
    expanded = "e = Expand (user, t) r = Reshape (e, flat) n = Relu (r) m = Reshape (n, t)"
    body = f"{shapes} {expanded} q = Reshape (item, middle) y = Mul (m, q)"
    constants: dict[str, Any] = {"zero": [0], "one": [1], "four": [4], "flat": [-1, 4], "middle": [-1, 1, 4]}
    rewrite_and_check(parse(f"{text} {{ {body} }}", opset=opset, **constants))


def test_names_of_our_own_shapes_that_are_taken() -> None:
    proto = ranking("tiled", BODY, **WEIGHTS)
    renames = {"b": "mari.shape_0", "h": "mari.shape_1"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renames.get(n, n) for n in names]
    for tensor in proto.graph.initializer:
        tensor.name = renames.get(tensor.name, tensor.name)
    rewrite_and_check(proto)
