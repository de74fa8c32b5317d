"""A model that is not valid ONNX is said to be none, with the reason; one that runtimes accept is accepted."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser

from mari_onnx.document.read import from_proto
from mari_onnx.errors import ModelError
from tests.document.files import TABLE, model


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
