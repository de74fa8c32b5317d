"""A model that was traced at one length is run at that length, though its axis is declared to be dynamic."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

import mari_onnx
from tests.graphs import integers, parse
from tests.notes import said
from tests.verification.models import verify


def ranker(steps: int, **constants: Any) -> onnx.ModelProto:
    """The Reshape wants so many steps; the item is one of them."""
    body = """one_token = Unsqueeze (item, one) x = Concat <axis = 1> (user, one_token)
        r = Reshape (x, shape) c = ReduceSum <keepdims = 0> (r, one) y = MatMul (c, w)"""
    text = f"g (float[B, length, 4] user, float[B, 4] item) => (float[B, 2] y) {{ {body} }}"
    return parse(text, one=[1], shape=[-1, steps, 4], w=integers(4, 2), **constants)


def test_the_length_that_it_was_traced_at() -> None:
    model = ranker(16)
    found = verify(model, model, tiled=("user",))
    assert found.passed
    assert said(found.notes) == ("the reference runs with `length` of 15 and not of others that were tried",)


def test_a_length_in_a_node() -> None:
    model = ranker(16)
    shape = next(t for t in model.graph.initializer if t.name == "shape")
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["shape"], value=shape))
    model.graph.initializer.remove(shape)
    assert verify(model, model, tiled=("user",)).passed


def test_a_dynamic_length_is_drawn_as_ever() -> None:
    body = "s = ReduceSum <keepdims = 0> (user, one) c = Add (s, item) y = MatMul (c, w)"
    text = f"g (float[B, length, 4] user, float[B, 4] item) => (float[B, 2] y) {{ {body} }}"
    model = parse(text, one=[1], w=integers(4, 2))
    found = verify(model, model, tiled=("user",))
    assert found.passed
    assert found.notes == ()


def test_a_model_that_runs_at_no_number_in_it() -> None:
    model = ranker(16)
    (shape,) = (t for t in model.graph.initializer if t.name == "shape")
    shape.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, 10_007, 4]), "shape"))
    found = verify(model, model, tiled=("user",))
    assert not found.passed
    assert not found.differences


def test_a_benchmark_of_it() -> None:
    """It is measured at that length, too."""
    model = ranker(16)
    found = mari_onnx.bench(model, model, user_inputs="user", batches=(2,), seconds=0.1).benchmark
    assert found is not None
    assert "the reference runs with `length` of 15 and not of others that were tried" in said(found.notes)
