"""A node that stays as it is reads what it read, and its output is an array, with symbols that are read off it."""

from __future__ import annotations

from tests.graphs import integers, parse, rewrite_and_check


def test_extents_that_only_the_output_has_are_read_off_it() -> None:
    """How many places NonZero finds is known when it has run."""
    text = """g (float[1, 4] user, float[B, 4] item) => (float[K, 5] y) {
        p = NonZero (item) n = Shape (p) k = Gather (n, ends) t = Concat <axis = 0> (k, five)
        s = MatMul (user, w) y = Expand (s, t)
    }"""
    result = rewrite_and_check(parse(text, ends=[1], five=[5], w=integers(4, 5)))
    places = result.program.values["p"]
    tensor, position = result.program.providers[str(places.known_dims[1][0].extent)]
    assert (tensor, position) == (places.array.tensor, 1)
    assert places.parts is None and places.terms is None


def test_a_node_without_a_rule_is_the_original() -> None:
    text = """g (float[1, 4] user, float[B, 4] item, float[2, 2] m) => (float z, float[B, 4] y) {
        z = Det (m) y = Add (user, item)
    }"""
    model = parse(text)
    result = rewrite_and_check(model)
    assert result.model.graph.node[0] == model.graph.node[0]
    value = result.program.values["z"]
    assert (value.known_dims, value.parts, value.terms) == ((), None, None)
