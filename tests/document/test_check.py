"""A model that is not valid ONNX is said to be none, with the reason; one that runtimes accept is accepted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser

from mari_onnx.document.check import blaming
from mari_onnx.document.document import Document
from mari_onnx.document.read import from_proto
from mari_onnx.errors import ModelError, UserError
from tests.document.files import TABLE, model


def test_a_model_without_outputs() -> None:
    proto = model()
    del proto.graph.output[:]
    with pytest.raises(ModelError, match="the model has no outputs"):
        from_proto(proto)


def stray(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "nowhere"


def twice(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(proto.graph.node[0])


def wrong_widths(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(TABLE.T, "w"))
    proto.graph.node[0].CopyFrom(onnx.helper.make_node("MatMul", ["x", "w"], ["y"]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(stray, "nowhere"), (twice, "single static assignment"), (wrong_widths, "Incompatible dimensions")],
)
def test_invalid_graphs(spoil: Callable[[onnx.ModelProto], None], reason: str) -> None:
    proto = model()
    spoil(proto)
    with pytest.raises(ModelError, match=f"not a valid ONNX model.*{reason}"):
        from_proto(proto)


@pytest.mark.parametrize("large", [1, 2**20])
def test_invalid_tensors(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr("mari_onnx.document.check.LARGE", large)
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(numpy_helper.from_array(TABLE, "w"))
    before = proto.SerializeToString()
    from_proto(proto)
    assert proto.SerializeToString() == before
    proto.graph.initializer.append(proto.graph.initializer[0])
    with pytest.raises(ModelError, match="stores the tensor 'w' twice"):
        from_proto(proto)
    del proto.graph.initializer[1:]
    proto.graph.initializer[0].raw_data = b"short"
    with pytest.raises(ModelError, match="its shape needs 96"):
        from_proto(proto)


def _raw(kind: int, dims: list[int], count: int) -> TensorProto:
    return TensorProto(name="w", data_type=kind, dims=dims, raw_data=bytes(count))


@pytest.mark.parametrize("place", ["initializer", "attribute"])
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (_raw(TensorProto.FLOAT, [4, 6], 92), "has 92 bytes, and its shape needs 96"),
        (_raw(TensorProto.FLOAT, [4, 6], 97), "has 97 bytes, and its shape needs 96"),
        (_raw(TensorProto.BFLOAT16, [3], 8), "has 8 bytes, and its shape needs 6"),
        (_raw(TensorProto.INT4, [3], 3), "has 3 bytes, and its shape needs 2"),
        (_raw(TensorProto.FLOAT, [0], 4), "has 4 bytes, and its shape needs 0"),
        (_raw(TensorProto.FLOAT, [-4, -6], 96), r"has the shape \[-4, -6\]"),
        (_raw(TensorProto.INT64, [0, 2**62], 0), rf"has the shape \[0, {2**62}\]"),
        (
            TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], float_data=[1]),
            "has 1 elements, and .* needs 2",
        ),
        (TensorProto(name="w", data_type=TensorProto.INT4, dims=[3], int32_data=[1]), "has 1 elements, and .* needs 2"),
        (TensorProto(name="w", data_type=TensorProto.STRING, dims=[1]), "has 0 elements, and its shape needs 1"),
    ],
)
def test_tensors_of_other_than_their_bytes(place: str, tensor: TensorProto, message: str) -> None:
    proto = model()
    if place == "initializer":
        proto.graph.initializer.append(tensor)
    else:
        proto.graph.node.append(onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    with pytest.raises(ModelError, match=f"tensor 'w' of the model {message}"):
        from_proto(proto)


def test_tensors_of_just_their_bytes() -> None:
    proto = model()
    for kind, raw in ((TensorProto.FLOAT, 12), (TensorProto.FLOAT16, 6), (TensorProto.BOOL, 3), (TensorProto.INT4, 2)):
        name = TensorProto.DataType.Name(kind)
        proto.graph.initializer.append(onnx.helper.make_tensor(name, kind, [3], [1, 0, 1]))
        proto.graph.initializer.append(onnx.helper.make_tensor(f"{name} raw", kind, [3], bytes(raw), raw=True))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(["a", "b"], dtype=object), "text"))
    proto.graph.initializer.append(onnx.helper.make_tensor("none", TensorProto.FLOAT, [0], []))
    from_proto(proto)


FUSED = '"" : 17, "com.microsoft" : 1, "acme" : 1'
WRONG = "y = com.microsoft.BiasGelu (x)"
"""It lacks an input: onnx's checker knows no such operator, and onnxruntime does not load it."""


def test_an_error_is_the_model_s_if_onnxruntime_refuses_it() -> None:
    document = from_proto(model(WRONG, FUSED))
    with pytest.raises(ModelError, match=r"the model cannot be loaded by onnxruntime: .* input size 1 not in range"):
        _fail(IndexError(), from_proto(model()), document)
    with pytest.raises(UserError, match="as it was"):
        _fail(UserError("as it was"), document)
    with blaming(document):
        pass


@pytest.mark.parametrize("body", ["y = Relu(x)", f"z = acme.Secret(x) {WRONG}"])
def test_an_error_is_a_bug_if_onnxruntime_takes_the_model_or_cannot_tell(body: str) -> None:
    with pytest.raises(IndexError):
        _fail(IndexError(), from_proto(model(body, FUSED)))


def _fail(error: Exception, *documents: Document) -> None:
    with blaming(*documents):
        raise error


def test_unknown_operators_are_valid_if_their_domain_is_imported() -> None:
    from_proto(model("z = acme.Secret(x)\ny = Relu(z)", '"" : 17, "acme" : 1'))
    with pytest.raises(ModelError, match="No opset import for domain 'acme'"):
        from_proto(model("y = acme.Secret(x)"))


def test_declared_shapes_that_a_runtime_overlooks_are_valid() -> None:
    proto = model("z = Abs(x)\ny = Relu(z)")
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5]))
    from_proto(proto)


def test_attention_of_which_onnx_knows_no_width() -> None:
    """It is inferred to be 0 wide then; a sum with what is 4 wide is no mistake of the model."""
    text = """<ir_version: 10, opset_import: ["" : 23]>
        g (float[B, 3, 4] x, int64[3] shape, float[4] c) => (float[B, 3, 4] y) {
            q = Reshape (x, shape)
            a = Attention <q_num_heads = 2, kv_num_heads = 2> (q, q, q)
            y = Add (a, c)
        }"""
    from_proto(parser.parse_model(text))
