"""Weights are initializers where they may be, and nodes where those would have to be inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

import mari_onnx
from mari_onnx.document.save import save
from mari_onnx.ir.policy import POLICY
from tests.emission.models import as_inputs, model
from tests.graphs import evaluate, feeds, integers, parse, ranking, rewrite, rewrite_and_check


def test_initializers_of_ir_version_3_are_inputs() -> None:
    """There they have to be: new weights are Constant nodes, and the signature stays."""
    wide: dict[str, Any] = {"user": "float[40]", "w": integers(43, 16), "b": integers(16)}
    proto = as_inputs(model(opset=9, zero=[0], **wide))
    proto.ir_version = 3
    result = rewrite_and_check(proto)
    assert result.model.graph.input == proto.graph.input
    names = {i.name for i in result.model.graph.input}
    assert {t.name for t in result.model.graph.initializer} <= names
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2
    assert {t.name for t in proto.graph.initializer} == {t.name for t in result.model.graph.initializer}


def test_constants_of_nodes() -> None:
    weight = ", ".join(str(int(e)) for e in integers(7, 2).ravel())
    body = f"w = Constant <value = float[7, 2] {{{weight}}}> () k = Constant <value_float = 2.0> () v = Mul (item, k)"
    proto = ranking("one", f"{body} x = Concat <axis = 1> (user, v) y = MatMul (x, w)")
    assert rewrite_and_check(proto).ops.count("Gemm") == 2


@pytest.mark.parametrize(
    "constant",
    [
        "k = ConstantOfShape <value = float[1] {2.0}> (long)",
        "two = Constant <value_floats = [2.0]> () k = Expand (two, long)",
        "two = Constant <value_floats = [2.0]> () k = Tile (two, long)",
    ],
)
def test_a_large_constant_of_one_number_stays_a_node(constant: str) -> None:
    """An initializer would make 200 MB of a file of less than a kilobyte."""
    body = f"{constant} m = ReduceMean <keepdims = 1> (k) v = Add (item, m) x = Concat <axis = 1> (user, v)"
    proto = ranking("one", f"{body} y = MatMul (x, w)", long=[50_000_000], w=integers(7, 2))
    result = rewrite(proto)
    assert result.model.ByteSize() < 10_000
    np.testing.assert_array_equal(evaluate(result.model, given := feeds(proto, 3)), evaluate(proto, given))


def test_tables_that_are_joined_are_not_copied(tmp_path: Path) -> None:
    """The Concat of two tables in external files stays, and the model refers to their file as before."""
    rows = POLICY.largest_growth // 16 + 1
    body = "t = Concat <axis = 0> (a, b) e = Gather (t, ids) x = Concat <axis = 1> (user, e) y = MatMul (x, w)"
    text = f"g (float[B, 64] user, int64[B] ids) => (float[B, 16] y) {{ {body} }}"
    proto = parse(text, w=integers(66, 16))
    for i, name in enumerate("ab"):
        table = proto.graph.initializer.add(name=name, dims=[rows, 2], data_type=onnx.TensorProto.FLOAT)
        table.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": "tables.bin", "offset": 8 * rows * i, "length": 8 * rows}.items():
            table.external_data.add(key=key, value=str(value))
    tables = integers(2 * rows, 2)
    (tmp_path / "tables.bin").write_bytes(tables.tobytes())
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    result = mari_onnx.optimize(tmp_path / "model.onnx", user_inputs="user", verify=False)
    assert result.changed
    assert result.model.ByteSize() < 20_000
    save(result.document, result.model, tmp_path / "fast.onnx")
    given = {"user": np.tile(integers(1, 64), (3, 1)), "ids": np.array([0, rows, 2 * rows - 1])}
    found, wanted = (ort.InferenceSession(tmp_path / f"{name}.onnx").run(None, given) for name in ("fast", "model"))
    np.testing.assert_array_equal(found[0], wanted[0])


def test_a_parameter_beside_one_that_became_a_constant(tmp_path: Path) -> None:
    """onnxruntime then looks into all parameters of a Range when it loads the model, and not into external data."""
    body = """
        none = Constant <value = int64 {0}> () shape = Shape (item) rank = Size (shape) flag = Equal (rank, none)
        limit = If (flag) <
            then_branch = a () => (float t) { t = Neg (four) }, else_branch = b () => (float e) { e = Identity (four) }>
        r = Range (zero, limit, one) i = Mul (item, r) x = Concat <axis = 1> (user, i)"""
    numbers: dict[str, Any] = {"zero": np.float32(0), "one": np.float32(1), "four": np.float32(4)}
    proto = ranking(
        "tiled", f"{body} y = MatMul (x, w)", user="float[40]", item="float[4]", w=integers(44, 64), **numbers
    )
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, size_threshold=0, location="model.data")
    result = mari_onnx.optimize(path, user_inputs=["user"])
    assert result.changed
    assert result.report.verification is not None
    assert result.report.verification.passed
    kept = {t.name: t.data_location == TensorProto.EXTERNAL for t in result.model.graph.initializer}
    assert (kept["zero"], kept["one"]) == (False, False)
