"""Small ranking graphs, written as text, and what the compiler makes of them.

A body computes with `user` and `item`, both with the candidates first; `ranking` puts the user's rows there in
each of the ways in which exported models do. Feeds are small integers: whatever is computed of them is exact, so
that models are compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.emission import Written, write
from mari_onnx.planning.kernels import with_kernels
from mari_onnx.planning.plan import Plan
from mari_onnx.planning.search import best_plan
from mari_onnx.report.model import Remark
from mari_onnx.serving.mode import Mode
from mari_onnx.serving.names import INDEX_INPUT
from mari_onnx.serving.requests import AddedIndex
from mari_onnx.serving.tiled import AS_EXPORTED
from tests.property.evaluate import Forms, forms, with_outputs
from tests.runtime import RUNS_EMPTY

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

    written: Written = field(repr=False)
    plan: Plan = field(repr=False)

    @property
    def program(self) -> Program:
        return self.plan.program

    @property
    def model(self) -> onnx.ModelProto:
        return self.written.model

    @cached_property
    def graph(self) -> list[str]:
        """Its nodes, with the shapes of what they make: `y.user [1 2] = Gemm (user_row, w.user, b.part)`.

        Without shape arithmetic.
        """
        tensors = self.written.tensors

        def made(name: str) -> str:
            shape = tensors[name].shape
            return f"{name} [{'?' if shape is None else ' '.join(map(str, shape))}]"

        return [
            f"{', '.join(made(o) for o in n.output if o)} = {n.op_type} "
            f"({', '.join(i for i in n.input if not i.startswith('mari.'))})"
            for n in self.model.graph.node
            if not n.output[0].startswith("mari.")
        ]

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


def rewrite(
    model: onnx.ModelProto,
    user: Sequence[str] = ("user",),
    batch: int = MANY,
    mode: Mode = AS_EXPORTED,
    *,
    kernels: bool = False,
) -> Rewritten:
    """Interpret and write, unconditionally, on request with faster kernels. Globs that match nothing are left out."""
    graph = Model(from_proto(model))
    names = {i.name for i in graph.inputs}
    plan = best_plan(read(graph, roles_of(graph, [u for u in user if u in names], batch, mode)), batch)
    plan = with_kernels(plan) if kernels else plan
    assert not [r for r in plan.program.context.remarks if r.status == "broken"]
    written = write(plan.lowered)
    from_proto(written.model)  # a valid model again
    return Rewritten(written, plan)


def feeds(model: onnx.ModelProto, batch: int, user: Sequence[str] = ("user",), seed: int = 1) -> dict[str, Array]:
    """Small integers for every input: ids below `IDS`, rows of several requests that differ, tiled rows alike."""
    rng = np.random.default_rng(seed)
    extents = {"B": batch, "R": REQUESTS, "L": LENGTH}
    stored = {t.name for t in model.graph.initializer}
    out: dict[str, Array] = {}
    for info in model.graph.input:
        if info.name in stored:
            continue
        tensor = info.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else extents.get(d.dim_param, batch) for d in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if info.name.startswith("index"):
            out[info.name] = index(batch, sum(name.startswith("index") for name in out)).astype(dtype)
        elif shape and tensor.shape.dim[0].dim_param == "R":
            out[info.name] = rows_of_requests(rng, shape, dtype)
        else:
            out[info.name] = _drawn(rng, shape, dtype)
            if info.name in user and shape and shape[0]:
                out[info.name][:] = out[info.name][0]
    return out


def _drawn(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    low, high = (-3, 4) if dtype.kind == "f" else (0, IDS)
    return rng.integers(low, high, shape).astype(dtype)


def rows_of_requests(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Rows of which no two are alike: alike, they would hide which of them an index selects."""
    while True:
        rows = _drawn(rng, shape, dtype)
        if len(np.unique(rows, axis=0)) == len(rows) or not rows.size:
            return rows


def index(batch: int, shift: int = 0) -> Array:
    """The request of each candidate: not in order, and as soon as there are four, some twice and none left out."""
    return np.resize(np.roll([2, 0, 1, 0], -shift), batch)


class Session:
    """A model in onnxruntime, its nodes as they are."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        results: list[Array] = self.session.run(None, dict(inputs))
        return results


def evaluate(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """onnxruntime, on the nodes as they are."""
    return Session(model).run(inputs)


BATCHES = (*([0] if RUNS_EMPTY else []), 1, REQUESTS, 7)
"""Candidates: none, one, as many as there are requests, and more."""

CRASHES_WHEN_EMPTY = frozenset({"Einsum", "GRU", "GroupQueryAttention", "LSTM"})
"""Operators with which onnxruntime ends the process where there are no candidates."""

FAILS_WHEN_EMPTY = frozenset({"ArgMax", "ArgMin", "Attention", "GatherND", "GroupNormalization", "Reshape", "Scan"})
"""Operators that may fail there: the largest or some given one of none, `[0, -1]` as a shape, and kernels that do not
take it."""


def runs(
    model: onnx.ModelProto, batches: Sequence[int], inputs_at: Callable[[int], dict[str, Array]]
) -> Iterator[tuple[int, dict[str, Array], dict[str, Array]]]:
    """How many candidates, what is sent, and what comes back; no candidates only where the model takes that."""
    session = Session(model)
    op_types = {node.op_type for node in model.graph.node}
    for batch in batches:
        if batch == 0 and CRASHES_WHEN_EMPTY & op_types:
            continue
        inputs = inputs_at(batch)
        try:
            results = session.run(inputs)
        except Exception:
            assert batch == 0 and FAILS_WHEN_EMPTY & op_types, f"the original runs at {batch}"
            continue
        yield batch, inputs, dict(zip((o.name for o in model.graph.output), results, strict=True))


def assert_equal(found: Array, wanted: Array, rtol: float, what: str) -> None:
    """Bit for bit, unless there is a tolerance."""
    if rtol:
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype), what
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol, err_msg=what)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=what, strict=True)


def assert_same(
    original: onnx.ModelProto,
    result: onnx.ModelProto,
    user: Sequence[str] = ("user",),
    *,
    batches: Sequence[int] = BATCHES,
    rtol: float = 0.0,
) -> None:
    """Every output of both, bit for bit unless told."""
    session = Session(result)
    for batch, inputs, expected in runs(original, batches, lambda batch: feeds(original, batch, user, seed=batch)):
        for (name, wanted), found in zip(expected.items(), session.run(inputs), strict=True):
            assert_equal(found, wanted, rtol, f"{name} at {batch}")


def rewrite_and_check(model: onnx.ModelProto, user: Sequence[str] = ("user",), *, rtol: float = 0.0) -> Rewritten:
    """The rewritten model: it computes what the original does, and so does every form of every value on the way.

    A model whose caller repeats the user's row is rewritten for several requests too.
    """
    result = rewrite(model, user)
    values = [v for n in model.graph.node for o in n.output if (v := result.program.values.get(o)) and v.dtype]
    types = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}
    observed = with_outputs(model, types | {v.name: v.dtype for v in values})
    written, stored = Session(result.model), Forms(result.program, model, values)
    for batch, inputs, expected in runs(observed, BATCHES, lambda batch: feeds(model, batch, user, seed=batch)):
        for name, found in zip(types, written.run(inputs), strict=True):
            assert_equal(found, expected[name], rtol, f"{name} at {batch}")
        stored.run(inputs, batch)
        for tensor, there in stored.stored.items():
            assert tensor.shape is None or there.shape == tuple(map(stored.extent, tensor.shape))
        answered = any(expected[name].size for name in types)
        for value in values:
            for kind, form in forms(value) if value.dims is not None else ():
                found, wanted = stored.evaluate(form, value.known_dims), expected[value.name]
                if answered:  # if not, nobody sees what was computed on the way
                    assert_equal(found, wanted, rtol, f"{kind} of {value.name} at {batch}")
                assert found.shape == wanted.shape
    _check_requests(model, user, rtol)
    return result


def _check_requests(model: onnx.ModelProto, user: Sequence[str], rtol: float) -> None:
    """Where the caller repeats the user's row: the rows of several requests, of which an index selects."""
    tiled = roles_of(Model(from_proto(model)), [i.name for i in model.graph.input if i.name in user], MANY).tiled
    if not tiled or {o.name for o in model.graph.output}.intersection(tiled):
        return
    session = Session(rewrite(model, user, mode=AddedIndex()).model)

    def sent(batch: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """What every call has, and the rows of the requests."""
        inputs, rng = feeds(model, batch, user, seed=batch), np.random.default_rng(batch)
        shapes = {name: (REQUESTS, *inputs[name].shape[1:]) for name in tiled}
        return inputs, {name: rows_of_requests(rng, shape, inputs[name].dtype) for name, shape in shapes.items()}

    def tiled_again(batch: int) -> dict[str, Array]:
        inputs, rows = sent(batch)
        return inputs | {name: a[index(batch)] for name, a in rows.items()}

    for batch, inputs, expected in runs(model, BATCHES, tiled_again):
        found = session.run(inputs | sent(batch)[1] | {INDEX_INPUT: index(batch)})
        for (name, wanted), here in zip(expected.items(), found, strict=True):
            assert_equal(here, wanted, rtol, f"{name} of several requests at {batch}")
