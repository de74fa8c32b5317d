"""A small ranker, what is written of it in each mode, and calls of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.emission import lower, write
from mari_onnx.planning.search import best_plan
from mari_onnx.serving.call_graph import CallGraph
from mari_onnx.serving.mode import Mode
from tests.graphs import MANY, Array, evaluate, integers, parse

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}
TYPES = "float[B, 4] user, float[B, 3] item"
BATCHES = (0, 1, 7)


def ranker(types: str = TYPES, body: str = BODY, output: str = "float[B, 2] y", *, opset: int = 17) -> onnx.ModelProto:
    constants: dict[str, Any] = WEIGHTS if "w, b" in body else {}
    return parse(f"g ({types}) => ({output}) {{ {body} }}", opset=opset, **constants)


def served(model: onnx.ModelProto, mode: Mode, globs: Sequence[str] = ("user*",)) -> onnx.ModelProto:
    """What is written, whether or not it pays."""
    graph = Model(from_proto(model))
    program = best_plan(read(graph, roles_of(graph, globs, MANY, mode)), MANY).program
    assert not [r for r in program.context.remarks if r.status == "broken"]
    result = write(lower(program, graph)).model
    onnx.checker.check_model(result, full_check=True)
    return result


def instructions(model: onnx.ModelProto, mode: Mode, globs: Sequence[str] = ("user*",)) -> tuple[str, ...]:
    """What the caller of the written model is told."""
    return mode.instructions(roles_of(Model(from_proto(model)), globs, MANY, mode).tiled)


def reasons(model: onnx.ModelProto, mode: Mode, globs: Sequence[str] = ("user*",)) -> dict[str, tuple[str, str]]:
    """What the report says of the request's inputs: what their leading axis holds, and why."""
    return {i.name: (i.rows, i.reason) for i in roles_of(Model(from_proto(model)), globs, MANY, mode).inputs}


def fed(mode: Mode, original: onnx.ModelProto, result: onnx.ModelProto, sent: dict[str, Array]) -> dict[str, Array]:
    """What the inputs of the result get in a call of the original, as far as that is not what they are sent."""
    call = CallGraph({i.name: i for i in original.graph.input}, original.opset_import[0].version)
    names = []
    for info in result.graph.input:
        feed = mode.feed(info, call.inputs.get(info.name))
        if feed is not None:
            feed(call, f"sent/{info.name}")
            names.append(info.name)
    outputs = [onnx.ValueInfoProto(name=f"sent/{name}") for name in names]
    graph = onnx.helper.make_graph(
        call.nodes, "fed", list(call.inputs.values()), outputs, list(call.initializers.values())
    )
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=original.opset_import)
    model = onnx.shape_inference.infer_shapes(model)
    for output in model.graph.output:
        info = next(i for i in result.graph.input if f"sent/{i.name}" == output.name)
        output.type.CopyFrom(onnx.helper.make_tensor_type_proto(info.type.tensor_type.elem_type, None))
    return dict(zip(names, evaluate(model, sent), strict=True)) if names else {}


def numbers(batch: int, width: int, seed: int = 0) -> Array:
    return integers(batch, width, seed=seed + batch)


def call(batch: int, **more: Array) -> dict[str, Array]:
    """One user and some items."""
    row = integers(1, 4, seed=batch)
    return {"user": np.repeat(row, batch, 0), "item": numbers(batch, 3), **more}


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    dims = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input}
    return {name: [d.dim_param or d.dim_value for d in shape] for name, shape in dims.items()}


def assert_equal(got: Sequence[Array], expected: Sequence[Array]) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def speaks(model: onnx.ModelProto, sent: dict[str, Array]) -> bool:
    """Whether every output of a guarded model says that rows differ; if not, none does."""
    results = dict(zip([o.name for o in model.graph.output], evaluate(model, sent), strict=True))
    if "mari_guard" in results:
        assert results["mari_guard"].shape == (1,)
        return not results["mari_guard"].any()
    said = {bool(np.isnan(a).all()) for a in results.values()}
    assert len(said) == 1
    assert said == {True} or not any(np.isnan(a).any() for a in results.values())
    return said.pop()
