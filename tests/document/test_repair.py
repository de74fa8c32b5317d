"""Models that onnxruntime runs are read as it reads them, and written as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import mari_onnx
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.document.repair import repaired
from mari_onnx.errors import ModelError
from tests.document import spoiled
from tests.document.spoiled import ITEM, SPOILED, USER, Edit, ranker

ROWS = 5
REPAIRED = [
    spoiled.graph_without_name, spoiled.domain_spelled_out, spoiled.domain_spelled_out_in_the_import,
    spoiled.domain_spelled_out_everywhere, spoiled.both_spellings_imported, spoiled.runtime_domain_without_import,
    spoiled.default_domain_without_import, spoiled.nodes_out_of_order, spoiled.extents_of_minus_one,
    spoiled.extents_of_minus_one_within, spoiled.old_initializers_that_are_no_inputs, spoiled.tensors_in_segments,
    spoiled.attribute_of_a_function_outside_of_one,
]  # fmt: skip


def made(edit: Edit) -> onnx.ModelProto:
    model = ranker()
    edit(model)
    return model


def run(model: onnx.ModelProto) -> np.ndarray[Any, Any]:
    """The scores of a few candidates of one user, small integers: they are exact."""
    rng = np.random.default_rng(1)
    user = np.repeat(rng.integers(-3, 4, (1, USER)), ROWS, 0).astype(np.float32)
    item = rng.integers(-3, 4, (ROWS, ITEM)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    scores: np.ndarray[Any, Any] = session.run(None, {"user": user, "item": item})[0]
    return scores


@pytest.mark.parametrize("edit", SPOILED)
def test_what_onnxruntime_runs_is_taken_and_written_as_it_was(edit: Edit) -> None:
    model = made(edit)
    before = model.SerializeToString()
    result = mari_onnx.optimize(model, user_inputs=["user"], batch=100_000)
    assert result.changed
    assert result.report.verification is not None
    assert result.report.verification.passed
    np.testing.assert_allclose(run(result.model), run(model), rtol=1e-5)
    assert model.SerializeToString() == before
    written, graph = result.model, result.model.graph
    assert (written.ir_version, list(written.opset_import)) == (model.ir_version, list(model.opset_import))
    assert (graph.name, list(graph.input)) == (model.graph.name, list(model.graph.input))
    assert list(graph.output) == list(model.graph.output)
    kept = [node for node in model.graph.node if node in graph.node]
    assert kept, "what follows the product is the original, also where its domain is spelled out"


@pytest.mark.parametrize("edit", SPOILED)
def test_it_is_split_and_compared_too(edit: Edit) -> None:
    model = made(edit)
    parts = mari_onnx.split(model, user_inputs=["user"])
    assert parts.report.verification is not None
    assert parts.report.verification.passed
    report = mari_onnx.verify(
        model, parts.models["rank"], user_inputs=["user"], user_model=parts.models["user"], effort="quick"
    )
    assert report.verification is not None
    assert report.verification.passed


@pytest.mark.parametrize("edit", REPAIRED)
def test_the_copy_is_valid(edit: Edit) -> None:
    model = made(edit)
    copy = repaired(model)
    assert copy is not model
    onnx.checker.check_model(copy, full_check=True)
    assert repaired(copy) is copy


def test_a_model_that_keeps_the_rules_is_not_copied() -> None:
    model = ranker()
    assert repaired(model) is model


def test_nodes_are_sorted_with_as_little_moved_as_can_be() -> None:
    model = ranker()
    names = [node.output[0] for node in model.graph.node]
    moved = [onnx.NodeProto.FromString(model.graph.node[i].SerializeToString()) for i in (1, 0, 2, 3)]
    del model.graph.node[:]
    model.graph.node.extend(moved)
    assert [node.output[0] for node in repaired(model).graph.node] == names


def test_a_cycle_has_no_order() -> None:
    model = ranker()
    model.graph.node[0].input[0] = "y"
    with pytest.raises(ModelError, match="topologically sorted"):
        from_proto(model)


def test_the_last_version_of_a_domain_counts() -> None:
    assert Model(from_proto(made(spoiled.both_spellings_imported))).opset == 17


def test_without_an_import_the_latest_version_is_meant() -> None:
    model = Model(from_proto(made(spoiled.default_domain_without_import)))
    assert model.opsets == {"com.microsoft": 1, "": onnx.defs.onnx_opset_version()}
    bare = ranker()
    del bare.opset_import[:]
    with pytest.raises(ModelError, match="must specify opset_import"):
        from_proto(bare)


def test_bodies_are_held_to_the_rules_as_onnxruntime_does() -> None:
    branch = """y = If (c) <
        then_branch = a () => (float[B, 32] t) { t = Relu (n) },
        else_branch = b () => (float[B, 32] e) { e = Abs (n) }>"""
    model = ranker(branch)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "c"))
    from_proto(model)
    model.graph.node[3].attribute[0].g.node[0].domain = "ai.onnx"
    with pytest.raises(ModelError, match=r"No opset import for domain 'ai\.onnx'"):
        from_proto(model)
