"""Names that a person finds again, each of one tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mari_onnx.ir.axes import Dims
from mari_onnx.ir.builder import Builder
from mari_onnx.serving.rows import FIRST_ROW, Kept, Rows, Sent
from mari_onnx.serving.tiled import Tiled
from tests.emission.models import WEIGHTS
from tests.graphs import integers, parse, ranking, rewrite, rewrite_and_check


def test_names_that_are_taken() -> None:
    """The original has tensors called as ours would be."""
    text = "g (float[B, 4] user, float[B, 3] item) => (float[B, 2] y, float[B, 2] z)"
    proto = parse(
        f"{text} {{ x = Concat <axis = 1> (user, item) y = Gemm (x, w) z = Mul (y, a) }}",
        w=integers(7, 2),
        a=integers(2),
    )
    renames = {"a": "user.user", "x": "w.user"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renames.get(n, n) for n in names]
    for tensor in proto.graph.initializer:
        tensor.name = renames.get(tensor.name, tensor.name)
    result = rewrite_and_check(proto)
    outputs = [o for n in result.model.graph.node for o in n.output] + [t.name for t in result.model.graph.initializer]
    assert len(set(outputs)) == len(outputs)
    assert result.ops.count("Gemm") == 2


def test_names_say_what_a_tensor_is_a_form_of() -> None:
    body = "h = MatMul (user, w) r = Relu (h) y = Add (r, item)"
    result = rewrite_and_check(ranking("one", body, w=integers(4, 3)))
    assert [n.output[0] for n in result.model.graph.node] == ["h.user", "r.user", "y"]


def test_a_node_that_runs_on_several_parts_has_a_name_for_each() -> None:
    proto = ranking("one", "x = Concat <axis = 1> (user, item) r = Relu (x) y = Gemm (r, w, b)", **WEIGHTS)
    next(n for n in proto.graph.node if n.op_type == "Relu").name = "act"
    names = [n.name for n in rewrite_and_check(proto).model.graph.node if n.name]
    assert "act" in names
    assert len(set(names)) == len(names)


class OnlyFirstRow:
    """Row 0 is kept, and no consumer may have the other rows that the caller sends."""

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        return replace(FIRST_ROW.keep(b, name, dims, dtype, sent), written=None)


@dataclass(frozen=True)
class Strict(Tiled):
    def rows(self, requests: str) -> Rows:
        return OnlyFirstRow()


def test_an_input_keeps_its_name_where_no_value_holds_all_its_rows() -> None:
    model = ranking("tiled", "h = MatMul (user, w) y = Add (h, item)", w=integers(4, 3))
    written = rewrite(model, mode=Strict()).model
    assert [i.name for i in written.graph.input] == ["user", "item"]
    assert "user" in written.graph.node[0].input
