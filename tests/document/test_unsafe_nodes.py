"""Nodes over which onnx would end the process: it is not asked. None of them is here in a model that does so."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import mari_onnx
from mari_onnx.document import check
from mari_onnx.document.read import from_proto
from mari_onnx.document.unsafe_nodes import is_unsafe, unsafe_nodes
from mari_onnx.errors import ModelError
from tests.graphs import integers, parse


@pytest.mark.parametrize(
    ("op_type", "outputs", "attributes", "unsafe"),
    [
        ("GatherND", 1, {"batch_dims": -1}, True),
        ("GatherND", 1, {"batch_dims": 2}, False),
        ("GatherND", 1, {}, False),
        ("LayerNormalization", 2, {"axis": 2**31}, True),
        ("LayerNormalization", 2, {"axis": -1}, False),
        ("Einsum", 1, {"equation": "...d, dk -> ...k"}, False),
        ("Einsum", 1, {"equation": "bd,df"}, False),
        ("Einsum", 1, {"equation": "bd+df"}, True),
        ("Split", 3, {"num_outputs": 2}, True),
        ("Split", 2, {"num_outputs": 2}, False),
        ("Split", 2, {"axis": 1}, False),
        ("Softmax", 1, {"axis": 2**40}, False),
    ],
)
def test_what_is_unsafe(op_type: str, outputs: int, attributes: dict[str, Any], unsafe: bool) -> None:
    node = helper.make_node(op_type, ["x"], [f"y{i}" for i in range(outputs)], **attributes)
    assert is_unsafe(node) == unsafe


@pytest.mark.parametrize(
    ("body", "unsafe"),
    [
        ("y = EyeLike (x)", []),
        ("y = EyeLike (w)", []),
        ("z = Neg (x) y = EyeLike (z)", ["EyeLike"]),
        ("z = com.acme.Secret (x) y = EyeLike (z)", ["EyeLike"]),
        ("z = com.acme.Secret (x) y = ai.onnx.ml.TreeEnsemble (z)", ["TreeEnsemble"]),
        ("y = ai.onnx.ml.LabelEncoder (x)", []),
    ],
)
def test_an_input_without_a_type(body: str, unsafe: list[str]) -> None:
    """What a node made has the type that onnx infers for it, if it does."""
    model = parse(
        f"g (float[4, 4] x) => (float[4, 4] y) {{ {body} }}",
        domains=', "com.acme": 1, "ai.onnx.ml": 5',
        w=integers(4, 4),
    )
    assert [node.op_type for node in unsafe_nodes(model)] == unsafe


def test_one_that_onnxruntime_does_not_load_for_want_of_a_kernel() -> None:
    text = "g (float[4, 4] x) => (bool[4, 4] y) { z = Neg (x) y = EyeLike <dtype = 9> (z) }"
    with pytest.raises(ModelError, match=r"^the model cannot be loaded by onnxruntime: .*implementation for EyeLike"):
        from_proto(parse(text))


def ranker(body: str = "y = GatherND <batch_dims = -1> (rows, i)") -> onnx.ModelProto:
    text = "g (float[1, 64] user, float[B, 4, 4] rows, int64[B, 1] i) => (float[?, ?] y, float[?, ?] z)"
    more = "s = Shape <end = 1> (rows) t = Concat <axis = 0> (s, one) e = Tile (user, t) z = MatMul (e, w)"
    return parse(f"{text} {{ {body} {more} }}", one=[1], w=integers(64, 32))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnx's checker and inference fail the test where they see such a node."""
    for module, name in ((onnx.checker, "check_model"), (onnx.shape_inference, "infer_shapes")):
        real = getattr(module, name)

        def seen(model: onnx.ModelProto, *given: Any, real: Any = real, **named: Any) -> Any:
            assert not list(unsafe_nodes(model))
            return real(model, *given, **named)

        monkeypatch.setattr(module, name, seen)


@pytest.mark.usefixtures("unchecked")
def test_one_that_onnxruntime_loads() -> None:
    """The rest of the model is rewritten as ever."""
    model = ranker()
    assert list(unsafe_nodes(model))
    result = mari_onnx.optimize(model, user_inputs=["user"], verify=False)
    assert result.changed
    assert [node for node in result.model.graph.node if is_unsafe(node)] == list(unsafe_nodes(model))


@pytest.mark.usefixtures("unchecked")
def test_one_that_onnxruntime_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it ends its process over it: the child's."""
    monkeypatch.setattr(check, "why_not_loaded", lambda _: "onnxruntime stopped (signal 11) while it loaded the model")
    with pytest.raises(
        ModelError, match=r"an attribute of GatherND `y` is out of range \(onnxruntime stopped"
    ) as raised:
        from_proto(ranker())
    assert raised.value.next_step


def test_nodes_of_bodies_and_of_functions_count() -> None:
    body = """y = If (c) <
        then_branch = a () => (float[?, ?] t) { t = GatherND <batch_dims = -1> (rows, i) },
        else_branch = b () => (float[?, ?] e) { e = GatherND (rows, i) }>"""
    model = ranker(body=body)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "c"))
    assert len(list(unsafe_nodes(model))) == 1
    made = ranker("y = GatherND (rows, i)")
    node = helper.make_node("GatherND", ["a", "b"], ["c"], batch_dims=-1)
    made.functions.append(helper.make_function("local", "F", ["a", "b"], ["c"], [node], made.opset_import))
    assert list(unsafe_nodes(made)) == [node]
