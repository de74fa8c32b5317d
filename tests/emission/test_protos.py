"""A node is the original, byte for byte, but for the tensors that it is on."""

from __future__ import annotations

from onnx import AttributeProto, helper, numpy_helper

from tests.emission.models import entry, model
from tests.graphs import integers, parse, ranking, rewrite, rewrite_and_check


def test_nodes_that_did_not_change_are_the_originals() -> None:
    """On the same inputs: name, doc string, metadata, overload and attributes byte for byte."""
    proto = model()
    relu = proto.graph.node[-1]
    relu.name, relu.doc_string = "tower/act", "the activation"
    relu.metadata_props.append(entry("pkg.torch.onnx.name_scopes"))
    before = relu.SerializeToString(deterministic=True)
    result = rewrite_and_check(proto).model
    assert result.graph.node[-1].SerializeToString(deterministic=True) == before


def test_a_node_on_other_inputs_keeps_the_rest() -> None:
    proto = ranking("one", "r = LeakyRelu <alpha = 0.5> (user) y = Mul (r, item)", item="float[4]")
    node = next(n for n in proto.graph.node if n.op_type == "LeakyRelu")
    node.name, node.doc_string = "act", "a comment"
    node.metadata_props.append(entry("scope"))
    (found,) = rewrite_and_check(proto).nodes("LeakyRelu")
    assert list(found.input) == ["user_row"]
    assert (found.name, found.doc_string) == ("act", "a comment")
    assert found.attribute == node.attribute
    assert found.metadata_props[: len(node.metadata_props)] == list(node.metadata_props)


def test_unusual_attributes_survive() -> None:
    """Empty lists and bytes that are no text, on a node of a domain that nobody knows."""
    proto = parse(
        "g (float[1, 4] user_row, float[B, 3] item) => (float[B, N] y) { y = Relu (item) }", domains=', "acme" : 1'
    )
    secret = helper.make_node("Secret", ["user_row"], ["s"], domain="acme")
    secret.attribute.extend([
        AttributeProto(name="none", type=AttributeProto.INTS),
        AttributeProto(name="blob", type=AttributeProto.STRING, s=b"\xff\x00"),
        helper.make_attribute("many", [numpy_helper.from_array(integers(2), "t")]),
    ])  # fmt: skip
    proto.graph.node.insert(0, secret)
    proto.graph.node[1].CopyFrom(helper.make_node("Add", ["s", "item"], ["y"]))
    result = rewrite(proto)
    assert result.model.graph.node[0] == secret
