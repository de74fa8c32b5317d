"""Small ranking graphs, written as text, and what the compiler makes of them.

A body computes with `user` and `item`, both with the candidates first; `ranking` puts the user's rows there in
each of the ways in which exported models do. Feeds are small integers: whatever is computed of them is exact, so
that models are compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from mari_onnx.document import from_proto
from mari_onnx.emit import emit
from mari_onnx.interpret import BUG, Program
from mari_onnx.model import Model
from mari_onnx.report.model import Remark
from mari_onnx.request import run, sides

Array = npt.NDArray[Any]

MANY = 100_000
"""Candidates at which every form that saves arithmetic is worth its launches."""

STYLES = ("one", "tiled", "requests")
"""The user's rows: one that the graph expands, one that the caller repeats, several that an index selects."""

REQUESTS, LENGTH, IDS = 3, 5, 4


def parse(text: str, *, opset: int = 17, ir: int = 8, domains: str = "", **constants: Any) -> onnx.ModelProto:
    """A model from ONNX's textual syntax, with the constants as initializers; lists are of int64."""
    model = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}{domains}]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    return model


def ranking(
    style: str,
    body: str,
    *,
    user: str = "float[4]",
    item: str = "float[3]",
    output: str = "float[B, N] y",
    opset: int = 17,
    domains: str = "",
    **constants: Any,
) -> onnx.ModelProto:
    """A model of one user and B items; types are written without the candidate axis."""
    dtype, rest = user.removesuffix("]").split("[")
    rank = rest.count(",") + 1 + bool(rest)
    shape = f", {rest}" if rest else ""
    rows, prelude = {
        "one": (f"{dtype}[1{shape}] user_row", _EXPAND),
        "tiled": (f"{dtype}[B{shape}] user", ""),
        "requests": (f"{dtype}[R{shape}] rows, int64[B] index", "user = Gather (rows, index)"),
    }[style]
    item_dtype, item_shape = item.removesuffix("]").split("[")
    items = f"{item_dtype}[B{', ' if item_shape else ''}{item_shape}] item"
    if style == "one":
        constants |= {"zero": [0], "ones": np.ones(rank - 1, np.int64)}
    return parse(f"g ({rows}, {items}) => ({output}) {{ {prelude} {body} }}", opset=opset, domains=domains, **constants)


_EXPAND = """
    item_shape = Shape (item)
    batch = Gather <axis = 0> (item_shape, zero)
    target = Concat <axis = 0> (batch, ones)
    user = Expand (user_row, target)
"""


def integers(*shape: int, seed: int = 0) -> Array:
    """Small whole numbers, as floats."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


@dataclass(frozen=True)
class Rewritten:
    """What the compiler makes of a model, whether or not that pays."""

    model: onnx.ModelProto
    program: Program = field(repr=False)

    @cached_property
    def ops(self) -> list[str]:
        return [node.op_type for node in self.model.graph.node]

    @property
    def remarks(self) -> list[Remark]:
        return self.program.context.remarks

    @cached_property
    def text(self) -> str:
        return onnx.printer.to_text(self.model)

    def refusals(self, op_type: str) -> list[str]:
        return [r.reason for r in self.remarks if r.status == "refused" and r.op_type == op_type]

    def nodes(self, op_type: str) -> list[onnx.NodeProto]:
        return [node for node in self.model.graph.node if node.op_type == op_type]


def rewrite(model: onnx.ModelProto, user: Sequence[str] = ("user",), batch: int = MANY) -> Rewritten:
    """Interpret and write, unconditionally. Globs that match nothing are left out."""
    graph = Model(from_proto(model))
    names = {i.name for i in graph.inputs}
    program = run(graph, sides(graph, [u for u in user if u in names], batch), batch)
    assert not [r for r in program.context.remarks if r.reason.startswith(BUG)]
    result = emit(program, graph)
    from_proto(result)  # a valid model again
    return Rewritten(result, program)


def feeds(model: onnx.ModelProto, batch: int, user: Sequence[str] = ("user",), seed: int = 1) -> dict[str, Array]:
    """Small integers for every input: ids below `IDS`, an index below the number of requests, tiled rows alike."""
    rng = np.random.default_rng(seed)
    extents = {"B": batch, "R": REQUESTS, "L": LENGTH}
    stored = {t.name for t in model.graph.initializer}
    out = {}
    for info in model.graph.input:
        if info.name in stored:
            continue
        tensor = info.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else extents.get(d.dim_param, batch) for d in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        low, high = (-3, 4) if dtype.kind == "f" else (0, REQUESTS if info.name.startswith("index") else IDS)
        values = rng.integers(low, high, shape).astype(dtype)
        # Rows of several requests are different rows: fed alike, they would hide which of them an index selects.
        if info.name in user and shape and shape[0] and tensor.shape.dim[0].dim_param != "R":
            values[:] = values[0]
        out[info.name] = values
    return out


def evaluate(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """onnxruntime, on the nodes as they are."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, dict(inputs))
    return results


def assert_same(
    original: onnx.ModelProto,
    result: onnx.ModelProto,
    user: Sequence[str] = ("user",),
    *,
    batches: Sequence[int] = (0, 1, 7),
    rtol: float = 0.0,
) -> None:
    """Every output of both, bit for bit unless told; no candidates only where the original takes that."""
    for batch in batches:
        inputs = feeds(original, batch, user, seed=batch)
        try:
            expected = evaluate(original, inputs)
        except Exception:
            assert batch == 0, "the original runs"
            continue
        for name, a, b in zip(original.graph.output, expected, evaluate(result, inputs), strict=True):
            if rtol:
                np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol, err_msg=f"{name.name} at {batch}", strict=True)
            else:
                np.testing.assert_array_equal(b, a, err_msg=f"{name.name} at {batch}", strict=True)


def rewrite_and_check(
    model: onnx.ModelProto,
    user: Sequence[str] = ("user",),
    *,
    batches: Sequence[int] = (0, 1, 7),
    rtol: float = 0.0,
) -> Rewritten:
    """The rewritten model, which computes what the original does at several batches."""
    result = rewrite(model, user)
    assert_same(model, result.model, user, batches=batches, rtol=rtol)
    return result
