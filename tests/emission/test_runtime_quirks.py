"""Each workaround for what a runtime does has a test that shows it, and onnxruntime does what it should with it."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mari_onnx.emission.runtime_quirks import QUIRKS, Quirk
from tests.graphs import integers, ranking, rewrite, rewrite_and_check

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.workaround)
def test_each_workaround_has_its_test(quirk: Quirk) -> None:
    module, _, name = quirk.workaround.rpartition(".")
    assert callable(getattr(import_module(f"mari_onnx.{module}"), name))
    path, _, test = quirk.test.partition("::")
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert re.fullmatch(r"(onnx|onnxruntime|openvino) \d+\.\d+\.\d+", quirk.seen_in)


def test_a_transposed_matrix_of_half_precision_is_survived() -> None:
    """Transpose, Reshape [3 2] to [1 3 2] and MatMul end the process in onnxruntime 1.32, while it loads the model."""
    body = "t = Transpose <perm = [0, 2, 1]> (user) k = MatMul (t, w) i = Unsqueeze (item, last) y = Mul (k, i)"
    types: dict[str, Any] = {"user": "float16[2, 3]", "item": "float16[3]", "output": "float16[B, 3, 1] y"}
    proto = ranking("one", body, **types, w=integers(2, 1).astype(np.float16), last=[2])
    result = rewrite_and_check(proto)
    assert len(ort.InferenceSession(result.model.SerializeToString()).get_outputs()) == 1


def test_rows_of_bfloat16_are_repeated() -> None:
    """onnxruntime 1.32 has no Expand of bfloat16 on a CPU."""
    proto = ranking("one", "y = Cast <to = 16> (user)", output="bfloat16[B, 4] y")
    written = rewrite(proto).model
    kinds = [node.op_type for node in written.graph.node]
    assert kinds[-2:] == ["Expand", "Cast"]
    written.graph.node.append(onnx.helper.make_node("Cast", ["y"], ["seen"], to=onnx.TensorProto.FLOAT))
    written.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("seen", onnx.TensorProto.FLOAT, ["B", 4]))
    given = {"user_row": np.array([[1, 0, 3, 1 / 3]], np.float32), "item": np.zeros((3, 3), np.float32)}
    (found,) = ort.InferenceSession(written.SerializeToString()).run(None, given)
    assert found.tolist() == [[1, 0, 3, 0.333984375]] * 3  # the nearest bfloat16


def test_an_output_that_is_transposed_is_found() -> None:
    """onnxruntime 1.32 makes one Gemm of Transpose, Gemm and Transpose, whoever wants what is between them."""
    body = """a = Add (user, item) r = Relu (a) t = Transpose (r) p = Gemm (t, r) s = Unsqueeze (r, one)
        y = Einsum <equation = "abc,dc->abcd"> (s, p)"""
    output = "float[3, 3] p, float[B, 1, 3, 3] y"
    proto = ranking("one", body, user="float[3]", output=output, one=[1])
    result = rewrite_and_check(proto)
    assert len(ort.InferenceSession(result.model.SerializeToString()).get_outputs()) == 2


def test_an_output_that_is_quantized_elsewhere_is_not_rounded() -> None:
    """onnxruntime 1.32 quantizes before it transposes, and an output along with it; not beside an Identity."""
    body = """a = Add (user, item) p = Relu (a) e = Equal (p, p) t = Transpose (p)
        q = QuantizeLinear <axis = 0> (t, scale, none) y = DequantizeLinear <axis = 0> (q, scale, none)"""
    output = "float[B, 3] p, float[3, B] y"
    constants: dict[str, Any] = {"scale": np.array([1, 2, 1], np.float32), "none": np.zeros(3, np.int8)}
    proto = ranking("one", body, user="float[3]", output=output, **constants)
    result = rewrite_and_check(proto)
    given = {"user_row": np.array([[1, 0, 3]], np.float32), "item": np.array([[0, 1, 2], [5, 0, 0]], np.float32)}
    (found, _) = ort.InferenceSession(result.model.SerializeToString()).run(["p", "y"], given)
    assert found.tolist() == [[1, 1, 5], [6, 0, 3]]
    again = rewrite(result.model, ["user_row"]).model
    assert [n.op_type for n in again.graph.node].count("Identity") == 1


@pytest.mark.parametrize("transposed", [0, 1])
def test_nothing_computed_is_added_in_a_product_with_a_quantized_weight(transposed: int) -> None:
    """onnxruntime fuses DequantizeLinear with a product as it stands: not transposed, and without another addend."""
    stored = integers(*((3, 259) if transposed else (259, 3))).astype(np.int8)
    body = f"""x = Concat <axis = 1> (user, item) w = DequantizeLinear <axis = {1 - transposed}> (q, scale, none)
        y = Gemm <transB = {transposed}> (x, w, b)"""
    constants: dict[str, Any] = {"q": stored, "scale": np.array([1, 2, 1], np.float32), "none": np.zeros(3, np.int8)}
    result = rewrite_and_check(ranking("one", body, user="float[256]", b=integers(3), **constants))
    products = [node for node in result.model.graph.node if node.op_type in ("Gemm", "MatMul")]
    assert len(products) == 2
    assert all(len(node.input) == 2 and not node.attribute for node in products)


def test_row_0_of_opset_10_has_an_extent_of_its_own() -> None:
    """Shape inference of its Slice says `B`, and the buffer of the user's product is taken for one of B rows."""
    body = "x = Concat <axis = 1> (user, item) z = MatMul (x, w) y = Relu (z)"
    result = rewrite_and_check(ranking("tiled", body, user="float[40]", opset=10, w=integers(43, 16)))
    (said,) = (v for v in result.model.graph.value_info if v.name == "user.user")
    assert [d.dim_param or d.dim_value for d in said.type.tensor_type.shape.dim] == ["mari.row", 40]


def test_row_0_of_opset_10_as_an_output() -> None:
    """The shape of an output is not ours to write down; what is computed of the row has the shape of another tensor."""
    body = """
        first = Slice (user, zero, one, zero) h = Relu (first) x = Concat <axis = 1> (user, item) z = MatMul (x, w)
        y = Relu (z)"""
    proto = ranking("tiled", body, user="float[40]", opset=10, w=integers(43, 16), zero=[0], one=[1])
    for name in ("first", "h"):
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    result = rewrite_and_check(proto)
    (said,) = (v for v in result.model.graph.value_info if v.name == "user.user")
    assert [d.dim_param or d.dim_value for d in said.type.tensor_type.shape.dim] == ["mari.row", 40]
    assert [node.op_type for node in result.model.graph.node if node.output[0] == "first"] == ["Identity"]


def test_a_running_mean_is_read_by_no_other_node() -> None:
    """The first layer has a bias, and its mean is zeros, as is the bias of the second one."""
    body = """x = Add (user, item) m = ConstantOfShape (width)
        n, m2, v2 = BatchNormalization <training_mode = 1> (x, c, d, m, e) h = Relu (n) b = ConstantOfShape (width)
        o, m3, v3 = BatchNormalization <training_mode = 1> (h, c, b, d, e) y = Relu (o)"""
    stored: dict[str, Any] = {name: integers(4, seed=i) for i, name in enumerate("cde")}
    proto = ranking("one", body, user="float[4]", item="float[4]", width=[4], **stored)
    feeds = {"user_row": integers(1, 4), "item": integers(7, 4, seed=1)}
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    before, after = (ort.InferenceSession(m.SerializeToString(), options) for m in (proto, rewrite(proto).model))
    np.testing.assert_array_equal(after.run(None, feeds)[0], before.run(None, feeds)[0], strict=True)


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "one tensor in the original"])
def test_a_running_mean_is_no_bias(shared: bool) -> None:
    """Zeros and ones are stored once, and onnxruntime writes the mean and the variance of a call into them."""
    mean, variance = ("b", "s") if shared else ("m", "v")
    body = f"""s = ConstantOfShape <value = float[1] {{1}}> (width) b = ConstantOfShape (width)
        m = ConstantOfShape (width) v = ConstantOfShape <value = float[1] {{1}}> (width) x = Add (user, item)
        n, m2, v2 = BatchNormalization <training_mode = 1> (x, s, b, {mean}, {variance}) y = Relu (n)"""
    proto = ranking("one", body, user="float[4]", item="float[4]", width=[4])
    model = rewrite(proto).model
    assert sum(i.name.endswith(".copy") for i in model.graph.initializer) == (0 if shared else 2)
    if not shared:
        feeds = {"user_row": integers(1, 4).astype(np.float32), "item": integers(7, 4, seed=1).astype(np.float32)}
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        before, after = (ort.InferenceSession(m.SerializeToString(), options) for m in (proto, model))
        for _ in range(2):
            np.testing.assert_array_equal(after.run(None, feeds)[0], before.run(None, feeds)[0], strict=True)
