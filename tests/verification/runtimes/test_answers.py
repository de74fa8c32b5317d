"""Answers that are no tensors: what can be compared in them is, and the rest is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from mari_onnx.verification.runtimes.answers import tensors_of
from tests.verification.models import parse, rng, verify

W = rng.standard_normal((6, 3)).astype(np.float32)


def test_tensors_of_sequences_and_maps() -> None:
    x = np.zeros((2, 3), np.float32)
    found = tensors_of({"x": x, "s": [x, x[:1]], "m": [{"a": 1.0}, {"a": 2.0}], "o": None, "d": {1: 2.0}}, np.float32)
    assert {name: array.shape for name, array in found.items()} == {
        "x": (2, 3), "s[0]": (2, 3), "s[1]": (1, 3), "m['a']": (2,), "d[1]": (1,)
    }  # fmt: skip
    assert all(array.dtype == np.float32 for array in found.values())


def sequence(w: np.ndarray = W) -> onnx.ModelProto:
    return parse(
        """g (float[B, 6] user) => (float[B, 3] y, seq(float[B, 1]) s) {
            y = MatMul (user, w) s = SplitToSequence <axis = 1> (y, each) }""",
        w=w, each=np.array([1, 2]),
    )  # fmt: skip


def probabilities(w: np.ndarray = W) -> onnx.ModelProto:
    model = parse("g (float[B, 6] user) => (float[B, 3] y) { y = MatMul (user, w) }", w=w)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    names: dict[str, Any] = {"classlabels_strings": ["a", "b", "c"]}
    model.graph.node.append(helper.make_node("ZipMap", ["y"], ["p"], domain="ai.onnx.ml", **names))
    info = onnx.ValueInfoProto(name="p")
    info.type.sequence_type.elem_type.map_type.key_type = TensorProto.STRING
    info.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.output.append(info)
    return model


def test_a_sequence_is_compared_tensor_by_tensor() -> None:
    same, other = verify(sequence(), sequence()), verify(sequence(), sequence(W * 2))
    assert same.passed and {d.output for d in same.differences} == {"y", "s[0]", "s[1]"}
    assert not other.passed


def test_a_map_is_compared_number_by_number() -> None:
    same, other = verify(probabilities(), probabilities()), verify(probabilities(), probabilities(W * 2))
    assert same.passed and {d.output for d in same.differences} == {"y", "p['a']", "p['b']", "p['c']"}
    assert not other.passed


def test_a_stored_output_is_compared() -> None:
    text = "g (float[B, 6] user) => (float[B, 3] y, float[6, 3] w) { y = MatMul (user, w) }"
    assert verify(parse(text, w=W), parse(text, w=W)).passed
