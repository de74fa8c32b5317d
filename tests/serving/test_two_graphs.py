"""A model of two graphs: which one runs, what they share, and how it is taken apart again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mari_onnx import UserError, optimize, split, verify
from mari_onnx.document.provenance import WHOLE, Origin, read
from mari_onnx.document.scopes import rename
from mari_onnx.serving.two_graphs import KEY, can_be_branch, exported_below, join, optimized_alone
from tests.graphs import evaluate, integers, parse

BELOW = 5

TEXT = "g (float[B, 4] user, float[B, 3] item) => (float[B, 2] y, float[B, 2] z)"
BODY = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b) z = Relu (y)"


def exported(opset: int = 17) -> onnx.ModelProto:
    return parse(f"{TEXT} {{ {BODY} }}", opset=opset, w=integers(7, 2), b=integers(2))


def both(original: onnx.ModelProto, change: Callable[[onnx.ModelProto], None] = lambda model: None) -> onnx.ModelProto:
    result = optimize(original, user_inputs=["user"], verify=False, batch=100_000).model
    assert exported_below(result) is None
    change(result)
    join(result, original, ("item", 0), BELOW)
    onnx.checker.check_model(result, full_check=True)
    return result


def scores(model: onnx.ModelProto, batch: int) -> list[Any]:
    user, item = integers(1, 4, seed=batch), integers(batch, 3, seed=batch + 1)
    return evaluate(model, {"user": np.repeat(user, batch, 0), "item": item})


def larger(model: onnx.ModelProto) -> None:
    """Every new weight is one larger."""
    for tensor in model.graph.initializer:
        if tensor.name.startswith("w."):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, tensor.name))


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
def test_both_graphs_compute_the_same(opset: int) -> None:
    original = exported(opset)
    result = both(original)
    for batch in (0, 1, BELOW - 1, BELOW, 7):
        for wanted, found in zip(scores(original, batch), scores(result, batch), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_names_of_extents_that_need_not_be_one() -> None:
    """Results of a branch are no outputs: one of [3, 4] would be computed in the buffer of one of [7, 4]."""
    original = exported()
    declared: dict[str, list[int | str]] = {"x": ["?", 7], "y": ["N", "N"]}
    original.graph.value_info.extend(helper.make_tensor_value_info(name, 1, dims) for name, dims in declared.items())
    result = both(original)
    branch = next(a.g for a in result.graph.node[-1].attribute if a.name == "then_branch")
    named = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in branch.value_info}
    assert named == {"x": [0, 7], "y.exported": [0, 0]}
    assert [d.dim_param for d in branch.output[1].type.tensor_type.shape.dim] == ["B", ""]


def test_few_candidates_run_the_exported_graph() -> None:
    original = exported()
    result = both(original, larger)
    for batch in (1, BELOW - 1, BELOW, 7):
        alike = np.array_equal(scores(original, batch)[0], scores(result, batch)[0])
        assert alike == (batch < BELOW)


def test_a_constant_of_both_is_stored_once() -> None:
    original = exported()
    names = [t.name for t in both(original).graph.initializer]
    assert sorted(names) == sorted({*names}) and {"w", "b", "w.user", "w.item"} <= {*names}


def test_a_name_that_means_a_constant_in_one_and_something_else_in_the_other() -> None:
    """Inside a branch, no name may be that of a constant around it."""

    def renamed(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "x"))  # computed as exported
        (stored,) = (t for t in model.graph.initializer if t.name == "w.item")
        rename(model.graph, {"w": "elsewhere", model.graph.node[0].output[0]: "w"})  # a constant as exported
        stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) + 1, "w.item"))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "y.exported"))

    original = exported()
    result = both(original, renamed)
    np.testing.assert_array_equal(scores(result, 1)[0], scores(original, 1)[0])
    assert not np.array_equal(scores(result, 7)[0], scores(original, 7)[0])


def test_taking_it_apart_gives_the_optimized_graph() -> None:
    original = exported()
    result = optimize(original, user_inputs=["user"], verify=False, batch=100_000).model
    alone = optimized_alone(both(original))
    assert list(alone.graph.node) == list(result.graph.node)
    assert {t.name for t in alone.graph.initializer} == {t.name for t in result.graph.initializer}
    assert read(alone) == read(result)
    assert exported_below(alone) is None
    assert optimized_alone(alone) is alone


def test_what_the_metadata_say() -> None:
    result = both(exported())
    entries = {entry.key: entry.value for entry in result.metadata_props}
    assert json.loads(entries[KEY]) == {"exported_below": BELOW}
    origins = read(result)
    assert origins["y"] == Origin("y", WHOLE, "two_graphs")
    assert origins["y.optimized"].value == "y"


@pytest.mark.parametrize("entry", ["", "[]", "{}", '{"exported_below": "7"}', "7"])
def test_a_model_that_was_changed_since_is_one_graph(entry: str) -> None:
    result = both(exported())
    next(each for each in result.metadata_props if each.key == KEY).value = entry
    assert exported_below(result) is None
    result = both(exported())
    result.graph.node[-1].op_type = "Loop"
    assert exported_below(result) is None


def test_which_graphs_can_be_branches() -> None:
    assert can_be_branch(exported().graph, 9)
    assert not can_be_branch(exported().graph, 8)  # Less compares floats alone
    constant = parse("g (float[B, 2] x) => (float[2] w, float[B, 2] y) { y = Add (x, w) }", w=integers(2))
    assert not can_be_branch(constant.graph, 17)
    same = parse("g (float[B, 2] x) => (float[B, 2] x, float[B, 2] y) { y = Add (x, x) }")
    assert not can_be_branch(same.graph, 17)
    annotated = exported()
    annotated.graph.quantization_annotation.add(tensor_name="x")
    assert not can_be_branch(annotated.graph, 17)
    maps = exported()
    maps.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(maps.graph.output[1].type))
    assert not can_be_branch(maps.graph, 17)
    chosen = """g (float[B, 2] x, bool c) => (float[B, 2] y) {
        z = If (c) <then_branch = a () => (float[B, 2] p) { p = Neg (x) },
                    else_branch = b () => (float[B, 2] q) { q = Abs (x) }> y = Relu (z) }"""
    assert not can_be_branch(parse(chosen).graph, 17)
    attends = (
        "g (float[B, 3, 4] x) => (float[B, 3, 4] y) { y = Attention <q_num_heads = 1, kv_num_heads = 1> (x, x, x) }"
    )
    assert not can_be_branch(parse(attends, opset=23).graph, 23)


def test_verify_runs_both_and_finds_the_node_that_differs() -> None:
    original = exported()
    report = verify(original, both(original), user_inputs=["user"])
    assert report.verification is not None and report.verification.passed
    assert {BELOW - 1, BELOW} <= {one.batch for one in report.verification.differences}
    assert report.structure is not None and not any(change.op_type == "If" for change in report.structure.changes)
    failed = verify(original, both(original, larger), user_inputs=["user"]).verification
    assert failed is not None and not failed.passed
    assert {one.batch for one in failed.differences if not one.passed} and all(
        one.passed for one in failed.differences if one.batch < BELOW
    )
    assert failed.divergence is not None and failed.divergence.rule == "linear"


def test_a_model_of_two_graphs_is_not_split() -> None:
    with pytest.raises(UserError, match="give the model as it was exported"):
        split(both(exported()), user_inputs=["user"])
