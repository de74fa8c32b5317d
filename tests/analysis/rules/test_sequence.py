"""ConcatFromSequence: of what a loop collected, and of anything else."""

from __future__ import annotations

from typing import Any

import onnx

from tests.analysis.test_turns import B, rows, sequenced
from tests.graphs import integers, ranking, rewrite_and_check

CLOSE: dict[str, Any] = {"rtol": 1e-5}


def joined(model: onnx.ModelProto) -> onnx.NodeProto:
    (node,) = (node for node in model.graph.node if node.op_type == "ConcatFromSequence")
    assert isinstance(node, onnx.NodeProto)
    return node


def test_the_graph() -> None:
    assert B not in rows(rewrite_and_check(sequenced("tiled"), **CLOSE), "bags")


def test_a_new_axis_of_turns() -> None:
    model = sequenced("tiled", after="bags = Squeeze (apart, one_)")
    joined(model).output[0] = "apart"
    joined(model).attribute.append(onnx.helper.make_attribute("new_axis", 1))
    assert B not in rows(rewrite_and_check(model, **CLOSE), "bags")


def test_along_another_axis() -> None:
    model = sequenced("tiled", after="bags = Reshape (wide, six)", six=[-1, 6])
    joined(model).output[0] = "wide"
    joined(model).attribute[0].i = 1
    result = rewrite_and_check(model, **CLOSE)
    assert "ConcatFromSequence" in result.ops
    why = "ConcatFromSequence of what is not known to be rows, along the first axis"
    reason = next(r.reason for r in result.remarks if r.tensor == "y")
    assert f"`wide` (ConcatFromSequence) is left as it is: {why}" in reason


def test_of_a_sequence_that_no_loop_made() -> None:
    body = (
        "l = SequenceConstruct (user, user) c = ConcatFromSequence <axis = 1> (l) v = MatMul (c, w) y = Add (v, item)"
    )
    assert "ConcatFromSequence" in rewrite_and_check(ranking("tiled", body, w=integers(8, 3))).ops
