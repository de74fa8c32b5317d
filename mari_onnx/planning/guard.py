"""A check inside the written model of what the user declared: the rows of a tiled input are equal, and scores small.

    identical = ReduceMin(Cast(Concat(x == row 0, ...)))        one comparison for each input, one reduction for all
    with NaN  = If(identical, true, compare again)              in which NaN equals NaN; only for floats
    small     = ReduceMax(Abs(q k')) < 4000                     with `--assume-masked`: of the scores relied on

The inputs are compared as the caller sends them, before any embedding, because ids are narrow. 0.0 and -0.0 are equal.
The guard of the serving mode decides what the model answers if rows differ (see `mari_onnx.serving.guard`).

Example: `user_id` of shape [B] is declared as tiled. The model computes with `user_id[0]`, and the check compares all B
ids with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model
from mari_onnx.document.provenance import WHOLE, Origin
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import product
from mari_onnx.ir.forms import IndexMap, Value
from mari_onnx.report.model import LARGEST_SCORE
from mari_onnx.serving.guard import FLOATS, Guard

BOOL, INT64, UINT8, FLOAT = TensorProto.BOOL, TensorProto.INT64, TensorProto.UINT8, TensorProto.FLOAT


def guarded(program: Program, model: Model, tiled: Sequence[str], guard: Guard) -> Program:
    """The program with a check of what was declared; `guard` makes the outputs of it.

    The rows of each input in `tiled` are equal, and the scores that masks were believed for are small. Those of the
    user's tokens with the candidates' are computed for the check alone.
    """
    b = program.context.b
    holds = _identical(program, model, [program.values[name] for name in tiled])
    if scores := [t for each in program.context.facts.assumed.values() for t in each]:
        holds = b.make("And", [holds, _small(b, list(dict.fromkeys(scores)))], (), BOOL)
    outputs = guard.guarded(b, program.outputs, holds)
    _note_origins(program, outputs, tiled[0])
    return replace(program, outputs=outputs)


def _note_origins(program: Program, outputs: Sequence[Value], tiled: str) -> None:
    """Note the origins of the guarded outputs: `y` comes from the guard, and `y.unguarded` is the value before it."""
    origins, before = program.context.origins, {value.name: value for value in program.outputs}
    for value in outputs:
        unguarded = before.get(value.name)
        if unguarded is None:
            origins[value.array.tensor] = Origin(tiled, "guard", "guard")
        elif unguarded is not value:
            tensor = plain(program.context.b, unguarded)
            rule = origins[tensor].rule if tensor in origins else ""
            origins[tensor] = Origin(value.name, "unguarded", rule)
            origins[value.array.tensor] = Origin(value.name, WHOLE, "guard")


def _identical(program: Program, model: Model, tiled: Sequence[Value]) -> Tensor:
    """A boolean scalar: whether every row of each tiled input equals the row that the model computes with."""
    b = program.context.b
    pairs = [_sent_and_kept(b, value) for value in tiled]
    exact = [pair for pair in pairs if pair[0].dtype not in FLOATS]
    floats = [pair for pair in pairs if pair[0].dtype in FLOATS]
    results = []
    if exact:
        results.append(_all(b, model, [_equal(b, *pair) for pair in exact]))
    if floats:
        same = _all(b, model, [_equal(b, *pair) for pair in floats])
        results.append(_unless_nan(b, model, same, floats))
    return results[0] if len(results) == 1 else b.make("And", results, (), BOOL)


def _small(b: Builder, scores: Sequence[Tensor]) -> Tensor:
    """A boolean scalar: whether all scores that are finite are below `LARGEST_SCORE` in magnitude.

    The other scores are those of one candidate, and make its outputs NaN; the others' are not.
    """
    dtype = helper.tensor_dtype_to_np_dtype(scores[0].dtype)
    flat = [b.reshape(t, (product(t.known_shape),)) for t in scores]
    none = b.constant(np.zeros(1, dtype))  # in a call without candidates, there may be no scores
    total = sum((t.known_shape[0] for t in flat), start=none.known_shape[0])
    sizes = b.make("Abs", [b.make("Concat", [none, *flat], (total,), axis=0)], (total,))
    finite = b.make("Less", [sizes, b.constant(np.array(np.inf, dtype))], (total,), BOOL)
    kept = b.make("Where", [finite, sizes, b.constant(np.zeros((), dtype))], (total,), scores[0].dtype)
    return b.make(
        "Less", [b.make("ReduceMax", [kept], (), keepdims=0), b.constant(np.array(LARGEST_SCORE, dtype))], (), BOOL
    )


def _sent_and_kept(b: Builder, value: Value) -> tuple[Tensor, Tensor]:
    """A tiled input as it is sent, and a tensor that broadcasts to it: the kept row for each of its rows.

    Strings are replaced by numbers, equal ones for equal strings.
    """
    assert value.written is not None, "a tiled input has the rows that the caller sends"
    sent, kept = value.written.tensor, value.array.tensor
    state = value.array.state(value.known_dims[0][0])
    index = state.index if isinstance(state, IndexMap) else None
    if sent.dtype == TensorProto.STRING:  # before opset 19, Unique is the only operator that compares strings
        numbers = _numbered(b, sent)
        kept = b.first_row(numbers, kept.known_shape[0]) if index is None else b.take(numbers, _first_rows(kept))
        sent = numbers
    return sent, kept if index is None else b.take(kept, index)


def _first_rows(kept: Tensor) -> Tensor:
    indices = kept.node.inputs[1]
    assert indices is not None, "kept rows are gathered"
    return indices


def _numbered(b: Builder, strings: Tensor) -> Tensor:
    shape = strings.known_shape
    flat = b.reshape(strings, (product(shape),))
    proto = helper.make_node("Unique", ["strings"], ["mari.strings", "", "mari.numbers"], sorted=0)
    results = [(None, strings.dtype), (None, 0), (flat.shape, INT64)]
    return b.reshape(b.again(proto, [flat], results)[2], shape)


def _equal(b: Builder, sent: Tensor, kept: Tensor) -> Tensor:
    return b.make("Equal", [sent, kept], sent.known_shape, BOOL)


def _all(b: Builder, model: Model, tests: Sequence[Tensor]) -> Tensor:
    """A boolean scalar: whether all elements of all tests are true. ReduceMin is much faster for uint8 than int32."""
    flat = [b.reshape(t, (product(t.known_shape),)) for t in tests]
    true = b.constant(np.array([True]))  # in a call without candidates, the tests have no elements
    total = sum((t.known_shape[0] for t in flat), start=true.known_shape[0])
    together = b.make("Concat", [true, *flat], (total,), axis=0)
    narrow = UINT8 if model.opset >= 12 else FLOAT
    numbers = b.make("Cast", [together], (total,), narrow, to=narrow)
    return b.make("Cast", [b.make("ReduceMin", [numbers], (), keepdims=0)], (), BOOL, to=BOOL)


def _unless_nan(b: Builder, model: Model, same: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """A boolean scalar: whether `same` is true, or the pairs of floats differ in nothing but NaN == NaN being false.

    The second comparison takes several times as long as the first. It runs only in a call with NaN, or with rows that
    differ.
    """
    prefix = "mari.guard"
    while any(name.startswith(f"{prefix}.") for name in model.names):
        prefix += "_"
    captures = {f"{prefix}.{kind}{i}": t for i, pair in enumerate(pairs) for kind, t in zip("xy", pair, strict=True)}
    nodes, tests = [], []
    for i in range(len(pairs)):
        x, y = f"{prefix}.x{i}", f"{prefix}.y{i}"
        for op_type, inputs, output in [
            ("Equal", (x, y), "equal"), ("IsNaN", (x,), "x_nan"), ("IsNaN", (y,), "y_nan"),
            ("And", (f"{prefix}.x_nan{i}", f"{prefix}.y_nan{i}"), "nan"),
            ("Or", (f"{prefix}.equal{i}", f"{prefix}.nan{i}"), "either"),
            ("Reshape", (f"{prefix}.either{i}", f"{prefix}.flat"), "flat"),
        ]:  # fmt: skip
            nodes.append(helper.make_node(op_type, inputs, [f"{prefix}.{output}{i}"]))
        tests.append(f"{prefix}.flat{i}")
    narrow = UINT8 if model.opset >= 12 else FLOAT
    nodes += [
        helper.make_node("Concat", [f"{prefix}.true", *tests], [f"{prefix}.all"], axis=0),
        helper.make_node("Cast", [f"{prefix}.all"], [f"{prefix}.numbers"], to=narrow),
        helper.make_node("ReduceMin", [f"{prefix}.numbers"], [f"{prefix}.least"], keepdims=0),
        helper.make_node("Cast", [f"{prefix}.least"], [f"{prefix}.result"], to=BOOL),
    ]
    constants = [
        helper.make_tensor(f"{prefix}.flat", INT64, [1], [-1]), helper.make_tensor(f"{prefix}.true", BOOL, [1], [True])
    ]  # fmt: skip
    again = helper.make_graph(nodes, "again", [], [_scalar(f"{prefix}.result")], constants)
    yes = helper.make_tensor(f"{prefix}.yes", BOOL, [], [True])
    done = helper.make_graph([], "done", [], [_scalar(f"{prefix}.yes")], [yes])
    proto = helper.make_node("If", [""], [f"{prefix}.identical"], then_branch=done, else_branch=again)
    return b.again(proto, [same], [((), BOOL)], list(captures.items()))[0]


def _scalar(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, BOOL, [])
