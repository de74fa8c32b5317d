"""Where a graph is cheapest to cut: what crosses has a price for each byte, what is computed again its own."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import pytest

from mari_onnx.partition.min_cut import NS_PER_BYTE, NS_PER_VALUE, Cut, Priced, cut, frontier, needed
from tests.graphs import integers, parse

CHAIN = """g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) {
    a = Relu (user) b = Neg (a) c = Exp (b) y = Mul (c, item)
}"""


def cheapest(
    graph: onnx.GraphProto,
    *,
    size: Mapping[str, float | None] | None = None,
    time: Mapping[str, float] | None = None,
    macs: Mapping[str, int] | None = None,
) -> Cut | None:
    """The cut behind `user`. Sizes are those of tensors, 16 bytes unless given; times and products those of nodes
    by what they compute, a second and none unless given."""
    sizes, times, products = dict(size or {}), dict(time or {}), dict(macs or {})
    priced = Priced(
        bytes_of=lambda name: sizes.get(name, 16.0),
        time_of=lambda node: times.get(node.output[0], 1e9),
        macs_of=lambda node: products.get(node.output[0], 0),
    )
    return cut(graph, ["user"], [i.name for i in graph.input], priced)


def outputs(nodes: tuple[onnx.NodeProto, ...]) -> str:
    return " ".join(node.output[0] for node in nodes)


def test_what_depends_on_one_side_alone_and_is_needed_by_the_rest() -> None:
    graph = parse(CHAIN).graph
    inside, edge = frontier(graph, ["user"], ["user", "item"])
    assert (inside, edge) == ({0, 1, 2}, ["c"])
    graph.output.append(onnx.helper.make_tensor_value_info("a", 1, [1, 4]))
    assert frontier(graph, ["user"], ["user", "item"])[1] == ["a", "c"]


def test_random_numbers_and_constants_are_of_neither_side() -> None:
    text = """g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) {
        r = RandomNormalLike (user) k = Neg (w) u = Add (user, k) s = Add (u, r) y = Mul (s, item)
    }"""
    graph = parse(text, w=integers(4)).graph
    inside, edge = frontier(graph, ["user"], ["user", "item"])
    assert [graph.node[i].output[0] for i in sorted(inside)] == ["u"]
    assert edge == ["u"]


def test_what_is_dear_to_compute_crosses() -> None:
    found = cheapest(parse(CHAIN).graph)
    assert found is not None
    assert (found.computed, found.inputs, found.repeated) == (("c",), (), ())
    assert (outputs(found.before), outputs(found.behind)) == ("a b c", "y")


def test_the_smallest_value_of_a_chain_crosses() -> None:
    """What follows it is computed again behind the cut, if that takes less than the larger value to send."""
    saved = NS_PER_BYTE * (10_000 - 16)
    for again, crosses in ((saved / 4, "b"), (saved * 2, "c")):
        found = cheapest(parse(CHAIN).graph, size={"c": 10_000}, time={"c": again})
        assert found is not None and found.computed == (crosses,)
    found = cheapest(parse(CHAIN).graph, size={"c": 10_000}, time={"c": 1.0})
    assert found is not None
    assert (outputs(found.before), outputs(found.repeated), outputs(found.behind)) == ("a b", "c", "c y")


@pytest.mark.parametrize("name", ["b", "c"])
def test_what_cannot_cross_does_not(name: str) -> None:
    found = cheapest(parse(CHAIN).graph, size={name: None})
    assert found is not None and found.computed == ({"b": "c", "c": "b"}[name],)


def test_two_values_cross_as_one_that_both_are_made_of() -> None:
    text = """g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) {
        a = Relu (user) b = Neg (a) c = Exp (a) p = Mul (b, item) q = Mul (c, item) y = Add (p, q)
    }"""
    for again, crosses in ((NS_PER_VALUE / 3, ("a",)), (NS_PER_VALUE * 3, ("b", "c"))):
        found = cheapest(parse(text).graph, time={"b": again, "c": again})
        assert found is not None and found.computed == crosses


def test_a_product_is_computed_again_where_it_is_next_to_nothing() -> None:
    for share, crosses in ((0.001, "b"), (0.5, "c")):
        found = cheapest(
            parse(CHAIN).graph, size={"c": 10_000}, time={"c": 1.0}, macs={"c": int(1000 * share), "y": 1000}
        )
        assert found is not None and found.computed == (crosses,)


def test_something_crosses_where_all_of_it_is_cheaper_to_compute_again() -> None:
    """Two models were asked for; the inputs alone would be none."""
    found = cheapest(parse(CHAIN).graph, size=dict.fromkeys("abc", 1e6), time=dict.fromkeys("abc", 1.0))
    assert found is not None
    assert (found.computed, found.repeated) == (("c",), ())


def test_where_nothing_is_computed_of_one_side_alone_there_is_no_cut() -> None:
    assert (
        cheapest(parse("g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) { y = Mul (user, item) }").graph)
        is None
    )


def test_only_what_is_needed_is_kept() -> None:
    graph = parse(CHAIN).graph
    assert [node.output[0] for node in needed(graph.node, ["b"])] == ["a", "b"]
    assert needed(graph.node, []) == []
