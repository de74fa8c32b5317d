"""How a model says that rows which should be identical are not; how they are compared is tested with the planning."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mari_onnx import UserError, optimize
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.serving.call_graph import CallGraph
from mari_onnx.serving.guard import Guard, NanGuard, OutputGuard
from mari_onnx.serving.tiled import Tiled
from tests.graphs import Array, evaluate
from tests.serving.models import BODY, call, numbers, ranker, served, speaks

NAN, OUTPUT = Tiled(guard=NanGuard()), Tiled(guard=OutputGuard())


def test_what_is_added() -> None:
    assert NanGuard().outputs == ()
    (output,) = OutputGuard().outputs
    assert (output.name, output.type.tensor_type.elem_type) == ("mari_guard", onnx.TensorProto.BOOL)
    assert [o.name for o in served(ranker(), NAN).graph.output] == ["y"]
    result = served(ranker(), OUTPUT)
    assert [o.name for o in result.graph.output] == ["y", "mari_guard"]
    assert result.graph.output[1] == output


def test_every_output_is_nan_and_no_bit_of_one_changes() -> None:
    body = BODY + " z = Cast <to = 11> (h) half = Cast <to = 10> (item)"
    model = ranker(output="float[B, 2] y, double[B, 2] z, float16[B, 3] half", body=body)
    result = served(model, NAN)
    sent = call(7)
    for found, wanted in zip(evaluate(result, sent), evaluate(model, sent), strict=True):
        np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8), strict=True)
    assert speaks(result, {**sent, "user": numbers(7, 4)})


def test_the_outputs_are_what_they_were_beside_one_that_speaks() -> None:
    model = ranker()
    sent = call(7, user=numbers(7, 4))
    found, guard = evaluate(served(model, OUTPUT), sent)
    assert not guard.any()
    np.testing.assert_array_equal(found, evaluate(served(model, Tiled()), sent)[0])


# What cannot be


def test_an_output_that_cannot_be_nan() -> None:
    model = ranker(output="float[B, 2] y, int64[B] best", body=f"{BODY} best = ArgMax <axis = 1, keepdims = 0> (y)")
    with pytest.raises(UserError, match="output `best` is no float") as caught:
        served(model, NAN)
    assert "--guard=output" in str(caught.value.next_step)
    assert speaks(served(model, OUTPUT), call(7, user=numbers(7, 4)))


def test_an_output_that_is_an_input() -> None:
    """It has the values and the name that it was sent with."""
    model = ranker(output="float[B, 2] y, float[B, 4] user")
    with pytest.raises(UserError, match="output `user` is an input as well"):
        served(model, NAN)
    result = optimize(model, user_inputs=["user"], guard="output")
    assert result.report.verification is not None
    assert result.report.verification.passed
    assert speaks(result.model, call(7, user=numbers(7, 4)))


@pytest.mark.parametrize("guard", [NanGuard(), OutputGuard()], ids=str)
def test_before_opset_11(guard: Guard) -> None:
    with pytest.raises(UserError, match="a guard needs opset 11, and the model has 10"):
        guard.check(Model(from_proto(ranker(opset=10))))


def test_guarded_twice() -> None:
    model = ranker()
    twice = served(served(model, NAN), NAN)
    assert not speaks(twice, call(7))
    assert speaks(twice, call(7, user=numbers(7, 4)))
    with pytest.raises(UserError, match="has a `mari_guard` already"):
        served(served(model, OUTPUT), OUTPUT)


def test_a_guarded_model_is_written_although_it_does_not_pay() -> None:
    model = ranker()
    assert not optimize(model, user_inputs=["user"], verify=False).changed
    assert optimize(model, user_inputs=["user"], guard="nan").changed


# Verification


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_outputs_are_folded(dtype: type) -> None:
    """NaN where the guard is false; what cannot be NaN stays what it is."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = [
        onnx.helper.make_tensor_value_info("raw/y", kind, ["B", 2]),
        onnx.helper.make_tensor_value_info("raw/guard", onnx.TensorProto.BOOL, [1]),
    ]
    outputs = [onnx.helper.make_tensor_value_info("y", kind, ["B", 2]), *OutputGuard().outputs]
    graph = CallGraph({i.name: i for i in inputs}, 17)
    OutputGuard().fold(graph, outputs, {"y": "raw/y", "mari_guard": "raw/guard"})
    made = onnx.helper.make_graph(graph.nodes, "folded", inputs, outputs[:1], list(graph.initializers.values()))
    model = onnx.helper.make_model(made, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    y: Array = np.arange(6).reshape(3, 2).astype(dtype)
    for right in (True, False):
        (found,) = evaluate(model, {"raw/y": y, "raw/guard": np.array([right])})
        wanted = y if right or dtype is np.int64 else np.full_like(y, np.nan)
        np.testing.assert_array_equal(found, wanted, strict=True)
