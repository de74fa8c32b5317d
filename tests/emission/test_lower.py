"""Lowering: nodes in operators of the model's own opset, and what they read of shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import TensorProto

from benchmarks.models import samples
from mari_onnx.analysis.context import Context
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto, load
from mari_onnx.emission import Lowered, lower, write
from mari_onnx.ir.axes import new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.forms import Array, Value
from mari_onnx.planning.search import best_plan
from tests.emission.models import shown
from tests.graphs import parse

B, L = symbol("B"), symbol("L")
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

SAMPLES = {name: path for name, path, _ in samples()}


def lowered(opset: int, make: Callable[[Builder], Tensor], *, cuts_at_symbols: bool = True) -> Lowered:
    """What is lowered of one tensor; B and L are the first two extents of an input `steps`."""
    b = Builder(frozenset({"B"}), cuts_at_symbols=cuts_at_symbols)
    steps = b.input("steps", (B, L, 4), FLOAT)
    tensor = make(b)
    dims = new_dims(tensor.known_shape)
    value = Value("y", dims, tensor.dtype, Array(tensor, dims))
    model = Model(from_proto(parse("g (float[B, L, 4] steps) => (float[M] y) { y = Identity (steps) }", opset=opset)))
    context = Context(b, CostModel(500), model.array_of, opset)
    program = Program(context, {}, [value], {"B": (steps, 0), "L": (steps, 1)})
    return lower(program, model)


def last(opset: int, make: Callable[[Builder], Tensor]) -> str:
    return shown(lowered(opset, make).code[-1])


def test_what_a_slice_takes() -> None:
    """Attributes before opset 10, and inputs from there on."""

    def columns(b: Builder) -> Tensor:
        return b.slice(b.input("x", (B, 6), FLOAT), 1, 2, 5)

    assert last(9, columns) == "Slice<axes = [1], starts = [2], ends = [5]>(x)"
    assert last(10, columns) == "Slice(x, [2], [5], [1])"


def test_axes_are_an_input_where_the_operator_has_one_by_now() -> None:
    def total(b: Builder) -> Tensor:
        return b.make("ReduceSum", [b.input("x", (B, 6), FLOAT)], (B,), axes=(1,), keepdims=0)

    assert last(12, total) == "ReduceSum<axes = (1,), keepdims = 0>(x)"
    assert last(13, total) == "ReduceSum<keepdims = 0>(x, [1])"


@pytest.mark.parametrize("opset", [11, 17])
def test_a_reshape_to_one_symbol_leaves_it_open(opset: int) -> None:
    """Nothing has to be computed for -1."""

    def heads(b: Builder) -> Tensor:
        return b.reshape(b.input("x", (B, 6), FLOAT), (B, 2, 3))

    assert last(opset, heads) == "Reshape(x, [-1, 2, 3])"
    assert lowered(opset, heads).shape_nodes == []


def test_a_reshape_to_several_symbols() -> None:
    def apart(b: Builder) -> Tensor:
        return b.reshape(b.input("x", (B * L, 4), FLOAT), (B, L, 4))

    rows = "Shape<start = 0, end = 1>(steps)", "Shape<start = 1, end = 2>(steps)"
    assert last(17, apart) == f"Reshape<allowzero = 1>(x, Concat<axis = 0>({', '.join(rows)}, [4]))"
    before = "Gather<axis = 0>(Shape(steps), [0])", "Gather<axis = 0>(Shape(steps), [1])"
    assert last(14, apart) == f"Reshape<allowzero = 1>(x, Concat<axis = 0>({', '.join(before)}, [4]))"
    # A 0 stands for the source's own extent before opset 14: for B*L, which is 0 as well where B is.
    assert last(13, apart) == f"Reshape(x, Concat<axis = 0>({', '.join(before)}, [4]))"


def test_a_reshape_to_several_symbols_of_what_has_no_candidates_first() -> None:
    """Where there are none, a 0 would stand for the 4 of the source before opset 14."""

    def turned(b: Builder) -> Tensor:
        return b.reshape(b.input("x", (4, B * L), FLOAT), (B, L, 4))

    assert last(13, turned) == "Reshape(x, Concat<axis = 0>([-1], Gather<axis = 0>(Shape(steps), [1]), [4]))"
    assert "-1" not in last(14, turned)


def test_axes_of_extent_1_before_opset_14() -> None:
    def between(b: Builder) -> Tensor:
        return b.reshape(b.input("x", (B, L), FLOAT), (B, 1, L))

    assert last(12, between) == "Unsqueeze<axes = [1]>(x)"
    assert last(13, between) == "Unsqueeze(x, [1])"
    assert last(14, between).startswith("Reshape")


@pytest.mark.parametrize(("dtype", "op_type"), [(HALF, "Unsqueeze"), (FLOAT, "Reshape")])
def test_what_is_transposed_in_half_precision_gets_its_axis_by_unsqueeze(dtype: int, op_type: str) -> None:
    def turned(b: Builder) -> Tensor:
        return b.reshape(b.transpose(b.input("x", (3, 2), dtype), (1, 0)), (1, 2, 3))

    assert last(17, turned).startswith(op_type)


def test_an_expand_reads_extents_off_what_it_expands() -> None:
    """Off its own input, if that has them; the others come from the inputs of the graph."""

    def repeated(b: Builder) -> Tensor:
        x = b.make("Relu", [b.input("x", (B, 1), FLOAT)], (B, 1))
        return b.expand(x, (B, 9))

    assert last(17, repeated) == "Expand(Relu, Concat<axis = 0>(Shape<start = 0, end = 1>(steps), [9]))"
    assert lowered(17, repeated).shape_nodes == [("Shape", 1), ("Concat", 2)]


def test_an_output_that_is_an_input_takes_an_identity() -> None:
    found = lowered(17, lambda b: b.input("x", (B, 6), FLOAT))
    assert (found.computing, found.shape_nodes) == ([], [("Identity", 1)])


# What a plan is priced by is what is written


@pytest.mark.parametrize("name", SAMPLES)
def test_the_nodes_that_are_priced_are_those_that_are_written(name: str) -> None:
    """Beside those whose results are constant: runtimes compute them once, and they are priced with nothing."""
    model = Model(load(SAMPLES[name]))
    found = best_plan(read(model, roles_of(model, ["user_*"], 500)), 500).lowered
    once = [n for n in found.nodes if n.outputs[0].constant and not (n.is_source or n.outputs[0].stored)]
    written = write(found).model.graph.node
    assert len(found.computing) + len(found.shape_nodes) + len(once) == len(written)


def test_a_slice_between_symbols() -> None:
    def some(b: Builder) -> Tensor:
        return b.slice(b.input("x", (B, L + 1), FLOAT), 1, L, L + 1)

    start = "Shape<start = 1, end = 2>(steps)"
    assert last(17, some) == f"Slice(x, {start}, Add([1], {start}), [1])"
    assert "Slice" in lowered(9, some).lacking


def test_axes_of_extent_1_that_are_left_out_before_opset_14() -> None:
    """A history of no tokens would be read as the 1 that is left out."""

    def without(b: Builder) -> Tensor:
        return b.reshape(b.input("x", (B, 1, L), FLOAT), (B, L))

    assert last(12, without) == "Squeeze<axes = [1]>(x)"
    assert last(13, without) == "Squeeze(x, [1])"
    assert last(14, without).startswith("Reshape")


def test_a_reshape_that_fails_without_elements_before_opset_14() -> None:
    """A history of no tokens would fail: then no axis is cut at a symbol, and the history stays beside a candidate."""

    def rows(b: Builder) -> Tensor:
        return b.reshape(b.input("x", (2, B * L, 8), FLOAT), (2, B, L, 8))

    assert "no Reshape to an extent of 0" in lowered(13, rows).lacking
    assert not lowered(13, rows, cuts_at_symbols=False).lacking
    assert not lowered(14, rows).lacking
