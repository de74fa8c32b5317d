"""Which sums are terms, and where a term goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mari_onnx.ir.axes import Axis, Dim
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.forms import Array, IndexMap, Terms, Value
from mari_onnx.ir.sums import MAX_TERMS, add_up, come_apart, terms_of

B, L, N = Axis(symbol("B"), "B"), Axis(9, "L"), Axis(5, "n")
DIMS = ((B,), (L,), (N,))
COST = CostModel(500, {"B": 500})


class Values:
    """Values of the dims B, L and n, of which each array has only some."""

    def __init__(self) -> None:
        self.b = Builder()
        self.count = 0

    def array(self, *axes: Axis) -> Array:
        self.count += 1
        return Array(self.b.input(f"x{self.count}", tuple(a.extent for a in axes), 1), tuple((a,) for a in axes))

    def plain(self, *axes: Axis) -> Value:
        """A value that is computed and is no product."""
        array = self.array(*axes)
        return Value("v", DIMS, 1, replace(array, tensor=self.b.make("Relu", [array.tensor], array.tensor.known_shape)))

    def product(self, *axes: Axis, bias: bool = False) -> Value:
        layout: tuple[Dim, ...] = tuple((a,) for a in axes)
        shape = tuple(a.extent for a in axes)
        rows = self.b.input(f"rows{len(axes)}{self.count}", (*shape[:-1], 4), 1)
        self.count += 1
        weight = self.b.constant(np.full((4, 5), self.count, np.float32))
        made = self.b.make("MatMul", [rows, weight], shape)
        if bias:
            made = self.b.make("Add", [made, self.b.constant(np.ones(5, np.float32))], shape)
        return Value("v", DIMS, 1, Array(made, layout))

    def constant(self) -> Value:
        return Value("v", DIMS, 1, Array(self.b.constant(np.ones(5, np.float32)), ((), (), (N,))))

    def terms(self, *signed: tuple[int, Value], takes_bias: bool = False) -> Terms | None:
        return terms_of(self.b, signed, DIMS, takes_bias=takes_bias)


def test_products_of_different_axes_are_terms_in_any_order() -> None:
    v = Values()
    terms = v.terms((1, v.product(B, L, N)), (-1, v.product(N)))
    assert terms is not None
    assert [sign for sign, _ in terms.signed] == [1, -1]
    assert terms.of_products
    assert terms.unbiased


def test_a_bias_is_a_term_of_products_alone_and_once() -> None:
    v = Values()
    alone = v.terms((1, v.product(B, N)), (1, v.constant()), takes_bias=True)
    assert alone is not None
    assert alone.of_products
    assert not alone.unbiased
    two = v.terms((1, v.product(B, N)), (1, v.product(N)))
    assert two is not None
    both = Value("s", DIMS, 1, v.array(B, N), terms=two)
    biased = v.terms((1, both), (1, v.constant()), takes_bias=True)
    assert biased is not None
    assert len(biased.signed) == 2, "the bias is added to the part that lacks the candidates"
    again = Value("s", DIMS, 1, v.array(B, N), terms=biased)
    assert v.terms((1, again), (1, v.constant()), takes_bias=True) is None
    assert v.terms((1, both), (1, v.constant())) is None


def test_a_product_with_its_bias_is_a_product() -> None:
    v = Values()
    terms = v.terms((1, v.product(B, N)), (1, v.product(N, bias=True)))
    assert terms is not None
    assert terms.of_products
    assert not terms.unbiased


@pytest.mark.parametrize("other", [(N,), (B, N)])
def test_what_is_no_product_is_only_taken_apart_by_one(other: tuple[Axis, ...]) -> None:
    """item (B n) - user (n) has all axes of the sum, and a product of it would not have fewer rows."""
    v = Values()
    assert v.terms((1, v.plain(B, N)), (-1, v.plain(*other))) is None
    assert v.terms((1, v.plain(B, N)), (-1, v.product(*other))) is None


def test_summands_that_all_lack_an_axis() -> None:
    """q (B n) - k (L n), and not with a constant."""
    v = Values()
    q, k = v.plain(B, N), v.plain(L, N)
    terms = v.terms((1, q), (-1, k))
    assert terms is not None
    assert not terms.of_products
    whole = v.array(B, L, N)
    assert come_apart(terms, whole, COST)
    assert not come_apart(Terms(((1, whole), *terms.signed)), whole, COST)
    difference = Value("d", DIMS, 1, whole, terms=terms)
    three = v.terms((1, difference), (1, v.plain(B, N)))
    assert three is not None
    assert len(three.signed) == 3, "terms that are no products are not added to each other"
    assert v.terms((1, difference), (1, v.constant()), takes_bias=True) is None


def test_what_depends_on_the_item_alone_comes_apart() -> None:
    """(user - item) @ W: item @ W can be computed before any request."""
    v = Values()
    item = v.array(B, N)
    item = replace(item, via=((B, IndexMap(None, B.extent, item_rows=True)),))
    terms = v.terms((1, v.plain(N)), (-1, Value("i", DIMS, 1, item)))
    whole = v.array(B, N)
    assert terms is not None
    assert come_apart(terms, whole, COST, [item.tensor])


@pytest.mark.parametrize("moved", [False, True])
def test_what_is_sent_comes_apart_beside_itself_alone(moved: bool) -> None:
    """(q - k) @ W stays one product of inputs q and k, and [q k q-k] @ W does not."""
    v = Values()
    q, k, whole = v.array(B, N), v.plain(L, N).array, v.array(B, L, N)
    if moved:
        q = replace(q, tensor=v.b.make("Neg", [q.tensor], q.tensor.known_shape))
    terms = v.terms((1, Value("q", DIMS, 1, q)), (-1, Value("k", DIMS, 1, k)))
    assert terms is not None
    assert not come_apart(terms, whole, COST)
    assert come_apart(terms, whole, COST, [q.tensor])


def test_more_terms_than_are_kept() -> None:
    v = Values()
    assert v.terms(*[(1, v.product(B, N)) for _ in range(MAX_TERMS)], (1, v.product(N))) is None
    assert v.terms(*[(1, v.product(N)) for _ in range(MAX_TERMS)], (1, v.product(B, N))) is not None


@pytest.mark.parametrize(("lead", "op_type"), [("B", "MatMul"), ("Z", "Add"), ("L", "Add"), ("", "Add")])
def test_a_term_is_one_more_row_of_a_weight_where_it_lacks_the_rows(lead: str, op_type: str) -> None:
    """x (L k) @ w (B k n) + c (B n); a term that differs from row to row, or on an axis apart, is added."""
    b = Builder()
    axes = {"B": Axis(3, "B"), "L": Axis(9, "L"), "Z": Axis(2, "Z"), "n": Axis(5, "n")}
    x, w = b.input("x", (9, 4), 1), b.input("w", (3, 4, 5), 1)
    product = Array(b.make("MatMul", [x, w], (3, 9, 5)), ((axes["B"],), (axes["L"],), (axes["n"],)))
    layout = tuple((axes[name],) for name in (*lead, *("n" if lead else "")))
    term = Array(b.input("c", tuple(d[0].extent for d in layout), 1), layout)
    dims = tuple((axes[name],) for name in "ZBLn")
    total = add_up(b, Terms(((1, product), (1, term))), dims).tensor
    assert total.op_type == op_type
    if op_type == "MatMul":
        assert [t.shape for t in total.node.inputs if t is not None] == [(9, 5), (3, 5, 5)]
