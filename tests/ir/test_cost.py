"""Multiply-adds of each product, bytes and launches, and the price of what is new."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import NS_PER_RUN, CostModel, reachable
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, symbol
from tests.graphs import MANY, integers, parse, ranking, rewrite

B, L = symbol("B"), symbol("L")
COST = CostModel(100, {"B": 100, "row": 1})
Shape = tuple[Extent, ...]


@pytest.mark.parametrize(
    ("op_type", "inputs", "output", "macs"),
    [
        ("MatMul", [(B, 4), (4, 8)], (B, 8), 100 * 4 * 8),
        ("MatMul", [(B, 2, 5, 4), (B, 2, 4, 5)], (B, 2, 5, 5), 100 * 2 * 5 * 5 * 4),
        ("Gemm", [(B, 4), (8, 4)], (B, 8), 100 * 4 * 8),
        ("Conv", [(B, 3, 10), (6, 3, 2)], (B, 6, 9), 100 * 6 * 9 * 6),
        ("GRU", [(5, B, 4), (1, 9, 4), (1, 9, 3)], (5, 1, B, 3), 5 * 100 * (9 * 4 + 9 * 3)),
        ("Relu", [(B, 4)], (B, 4), 0),
    ],
)
def test_multiply_adds(op_type: str, inputs: list[Shape], output: Shape, macs: int) -> None:
    assert COST.macs(op_type, [*inputs], [output], {}) == macs


def test_a_transposed_input_contracts_its_first_axis() -> None:
    assert COST.macs("Gemm", [(4, B), (4, 8)], [(B, 8)], {"transA": 1}) == 100 * 4 * 8


@pytest.mark.parametrize(
    ("equation", "shapes", "output", "macs"),
    [
        ("bd,df->bf", [(B, 4), (4, 8)], (B, 8), 100 * 4 * 8),
        ("ndk,nbd->bnk", [(3, 4, 8), (3, B, 4)], (B, 3, 8), 100 * 3 * 4 * 8),
        ("bd, fde -> bf", [(B, 4), (8, 4, 2)], (B, 8), 100 * 8 * 4 * 2),
        ("bd,be->bde", [(B, 4), (B, 8)], (B, 4, 8), 100 * 4 * 8),
    ],
)
def test_an_einsum_sums_over_the_letters_that_its_result_lacks(
    equation: str, shapes: list[Shape], output: Shape, macs: int
) -> None:
    assert COST.macs("Einsum", shapes, [output], {"equation": equation.encode()}) == macs


def test_unknown_shapes_cost_nothing_and_unknown_symbols_a_little() -> None:
    assert COST.macs("MatMul", [None, (4, 8)], [None], {}) == 0
    assert COST.elements(None) == 0
    assert 1 < COST.elements((L,)) < 100


def transposed(shape: Shape, *perm: int) -> float:
    return COST.time("Transpose", [shape], [tuple(shape[p] for p in perm)], {"perm": perm})


def test_transposing_is_priced_by_what_stays_together() -> None:
    forth, back = transposed((B, 20, 4, 16), 0, 2, 1, 3), transposed((4, B, 20, 16), 1, 2, 0, 3)
    assert back * 3 < forth < transposed((B, 20, 16, 4), 0, 2, 1, 3) < transposed((B, 20, 4, 16), 2, 0, 3, 1)
    assert transposed((B, 1, 4, 16), 0, 2, 1, 3) == transposed((B, 4, 16), 0, 1, 2)  # nothing is moved
    assert transposed((0, 4, 0, 16), 0, 2, 1, 3) < transposed((1, 4, 2, 16), 0, 2, 1, 3)


@pytest.mark.parametrize(
    ("shape", "other", "runs"),
    [
        ((B, 4, 8), (B, 4, 8), 0),
        ((B, 4, 8), (), 0),
        ((B, 4, 8), (1, 1, 1), 0),
        ((B, 4, 8), (8,), 100 * 4),
        ((B, 4, 8), (4, 8), 100),
        ((B, 4, 8), (B, 4, 1), 100 * 4),
        ((B, 4, 8), (B, 1, 8), 100 * 4),
        ((B, 1), (1, 1), 0),
        ((B, 1), (1,), 100),
        ((B, 1), (), 100),
        ((B,), (1,), 0),
        ((1, 8), (8,), 0),
    ],
)
def test_broadcasting_goes_by_runs(shape: Shape, other: Shape, runs: int) -> None:
    """An operand that goes on in one stretch and stays where it is in the next makes them two."""
    alike = COST.time("Add", [shape, shape], [shape], {})
    assert COST.time("Add", [shape, other], [shape], {}) == pytest.approx(alike + NS_PER_RUN * runs)
    assert COST.time("Add", [other, shape], [shape], {}) == pytest.approx(alike + NS_PER_RUN * runs)


def test_a_single_candidate_counts_as_often_as_it_is_emphasized() -> None:
    alone = CostModel(1, {"B": 1, "row": 1})
    node: tuple[str, list[Shape], list[Shape], dict[str, Any]] = ("Relu", [(B, 4000)], [(B, 4000)], {})
    both = CostModel(100, COST.reference, alone, 3.0)
    assert both.time(*node) == COST.time(*node) + 3 * alone.time(*node)
    both.assume("S", (B, 4))
    assert (both.elements((symbol("S"),)), alone.elements((symbol("S"),))) == (400, 4)


def chain(b: Builder) -> tuple[Tensor, Tensor, Tensor]:
    x = b.input("x", (B, 4), 1)
    w = b.constant(np.ones((4, 8), np.float32))
    first = b.make("MatMul", [x, w], (B, 8))
    second = b.make("Relu", [first], (B, 8))
    return x, first, second


def test_the_price_of_what_is_new() -> None:
    b = Builder()
    _, first, second = chain(b)
    everything = COST.price([second], 0)
    since = first.node.serial
    assert COST.price([second], since) == pytest.approx(everything - COST.price([first], 0))
    assert COST.price([first, second], 0) == everything  # a node is paid once
    assert COST.price([second], b.count) == 0


def test_equal_nodes_are_one() -> None:
    b = Builder()
    assert chain(b)[2] is chain(b)[2]


def test_nodes_in_order_each_once() -> None:
    b = Builder()
    x, first, second = chain(b)
    both = b.make("Add", [second, first], (B, 8))
    order = [node.op_type for node in reachable([both, second])]
    assert order == ["<input>", "<constant>", "MatMul", "Relu", "Add"]
    assert reachable([x], x.node.serial) == []


def test_what_is_constant_is_folded_and_free() -> None:
    b = Builder()
    w = b.constant(np.ones((4, 8), np.float32))
    part = b.slice(w, 0, 1, 3)
    assert part.constant
    assert COST.price([part], 0) == 0


def test_more_costs_more() -> None:
    b = Builder()
    x, first, second = chain(b)
    small, large = CostModel(1, {"B": 1}), CostModel(10_000, {"B": 10_000})
    for t in (first, second):
        assert 0 < small.node_time(t.node) < COST.node_time(t.node) < large.node_time(t.node)
    assert COST.node_time(b.reshape(first, (2, B * 4)).node) < small.node_time(first.node)
    assert COST.node_time(x.node) == 0


@pytest.mark.parametrize(("batch", "products"), [(1, 1), (MANY, 2)])
def test_the_cheapest_form_is_chosen(batch: int, products: int) -> None:
    """Two Relu and two products for one candidate are more than one of each and a Concat."""
    body = "x = Concat <axis = 1> (user, item) r = Relu (x) y = Gemm (r, w, b)"
    model = ranking("tiled", body, w=integers(7, 8), b=integers(8))
    assert rewrite(model, batch=batch).ops.count("Gemm") == products


def test_what_the_original_spends() -> None:
    """Of the graph as it is: the user's product counts for every candidate."""
    body = "h = MatMul (user, w) y = Add (h, item)"
    program = rewrite(ranking("one", body, w=integers(4, 3)), batch=50).program
    assert (program.work.macs, program.work.fixed) == (50 * 4 * 3, 0)
    text = "g (float[1, 4] user, float[B, 3] item) => (float[B, 3] y) { h = MatMul (user, w) y = Add (h, item) }"
    program = rewrite(parse(text, w=integers(4, 3)), batch=50).program
    assert (program.work.macs, program.work.fixed, program.work.nodes) == (12, 12, 2)


def test_several_operands_of_an_einsum_are_multiplied_one_after_the_other() -> None:
    cost = CostModel(500, {"B": 500})
    b = symbol("B")
    shapes: list[tuple[Extent, ...]] = [(b, 32), (32, 16), (b, 16)]
    late = cost.macs("Einsum", shapes, [(b,)], {"equation": b"bd,de,be->b"})
    assert late == 500 * 32 * 16 + 500 * 16
    early = cost.macs("Einsum", [(32,), *shapes[1:]], [(b,)], {"equation": b"d, de, be -> b"})
    assert early == 32 * 16 + 500 * 16
