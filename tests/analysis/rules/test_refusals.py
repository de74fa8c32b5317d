"""Every refusal has its reason asserted somewhere here, and no rule sees dimensions where nobody knows how many."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx.analysis.rules
from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.analysis.rules import DOMAINS, FUSED, RULES
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.axes import Refused
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.operators import ONNXRUNTIME
from mari_onnx.planning.search import best_plan
from tests.graphs import parse

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Concat": {"axis": 0},
    "Cast": {"to": 11},  # to another type than it has
    "Einsum": {"equation": "ab,bc->ac"},
    "FusedMatMul": {"transA": 0},
}
"""What operators cannot do without."""

UNKNOWN_RANK = {
    "BatchNormalization": "BatchNormalization of an input whose rank is not known",
    "Attention": "Attention of an input of unknown rank",
    "CastLike": "CastLike of an input of unknown rank, or to a type that is not known",
    "ConcatFromSequence": "ConcatFromSequence of what is not known to be rows, along the first axis",
    "ConstantOfShape": "the shape is computed from data",
    "CumSum": "axis of CumSum is computed by the model",
    "NonZero": "NonZero of a number, or of an input of unknown rank",
    "OneHot": "the depth of OneHot is computed by the model",
    "Range": "how many numbers Range gives is computed by the model",
    "ScatterND": "ScatterND to places that are computed, and are not those of a mask",
    "Unsqueeze": "axes of Unsqueeze is computed by the model",
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "the rank of an input is unknown"),
}
"""What a rule says that asks for something else first, or for more."""

WITHOUT_RANK = ("Identity", "Dropout")
"""Operators to which it makes no difference."""


def reasons() -> Iterator[tuple[str, str]]:
    """Where a rule refuses, and a pattern of what it says."""
    folder = Path(mari_onnx.analysis.rules.__file__).parent
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refused":
                yield f"{path.stem}:{node.lineno}", _pattern(node.args[0])


def _pattern(reason: ast.expr) -> str:
    match reason:
        case ast.Constant():
            return re.escape(str(reason.value))
        case ast.JoinedStr():
            return "".join(re.escape(str(v.value)) if isinstance(v, ast.Constant) else ".+" for v in reason.values)
        case ast.BinOp():
            return _pattern(reason.left) + _pattern(reason.right)
        case _:
            return ".+"


@cache
def quotes() -> tuple[set[str], set[str]]:
    """The texts that tests of the rules have in them, and patterns of those that they put together."""
    texts, patterns = set(), set()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                patterns.add(_pattern(node))
            elif isinstance(node, ast.Constant):
                texts.add(str(node.value))
    return texts, {p for p in patterns if len(p) > len(".+.+.+.+")}


@pytest.mark.parametrize(("where", "reason"), list(reasons()))
def test_every_reason_is_asserted(where: str, reason: str) -> None:
    """By a test that quotes it; this says nothing of whether the test is a good one."""
    quoted, patterns = quotes()
    said = re.sub(r"\\(.)", r"\1", reason)
    assert any(re.search(reason, text) for text in quoted) or any(re.fullmatch(p, said) for p in patterns), where


@pytest.mark.parametrize(
    ("domain", "op_type"), [("", o) for o in sorted(RULES)] + [(ONNXRUNTIME, o) for o in sorted(FUSED)]
)
def test_an_unknown_rank_is_refused(domain: str, op_type: str) -> None:
    ctx = Context(Builder(), CostModel(500), onnx.numpy_helper.to_array, opset=24)
    count = onnx.defs.get_schema(op_type, 24).min_input if not domain else 3
    names = [f"x{i}" for i in range(max(count, 1))]
    inputs = [Value(n, None, 1, Array(ctx.b.input(n, None, 1), ())) for n in names]
    node = onnx.helper.make_node(op_type, names, ["out"], domain=domain, **ATTRIBUTES.get(op_type, {}))
    derived = DOMAINS[domain][op_type](Op(node, tuple(inputs), 24), ctx)
    if op_type in WITHOUT_RANK:
        assert not isinstance(derived, Refused)
        assert derived[0].dims is None
    else:
        assert isinstance(derived, Refused)
        usual = ("the rank of the input is unknown", f"the rank of an input of {op_type} is unknown")
        assert derived.reason in (UNKNOWN_RANK.get(op_type), *usual)


REFUSED = [
    # along
    ("float[B,4] x, float[4] s", "y = LayerNormalization (x, s)",
     "an input of LayerNormalization beside the first is computed by the model"),
    ("float[B,4] x, int64[1] k", "y, i = TopK (x, k)", "the k of TopK is computed by the model"),
    ("float[B,4] x, int64[L,4] i", "y = GatherElements <axis = 1> (x, i)",
     "GatherElements of inputs whose extents B and L may differ"),
    ("float[B,4] x, int64[N] s", "r = Reshape (x, s) y = CumSum (r, axis)", "the rank of the input is unknown"),
    ("float[B,4] x", "r = ReduceSum <keepdims = 0> (x) y = CumSum (r, axis)",
     "the input is a scalar, which has no axis"),
    ("float[B,4] x", "r = ReduceSum <keepdims = 0> (x) y = LpNormalization <axis = -1> (r)",
     "the input is a scalar, which has no axis"),
    # attention and fused operators
    ("float[B,L,6] x, float[6,N] w, float[N] b", "y = com.microsoft.Attention <num_heads = 2> (x, w, b)",
     "Attention of widths that are not numbers"),
    ("float[B,6] x, float[6,9] w, float[9] b", "y = com.microsoft.Attention <num_heads = 2> (x, w, b)",
     "Attention of an input of unknown rank"),
    ("float[B,L,2,3,4] x", "y = com.microsoft.MultiHeadAttention <num_heads = 2> (x)",
     "MultiHeadAttention of packed keys and values, or with a cache"),
    ("float[B,1,N] q, float[B,L,N] k", "y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, k)",
     "Attention of widths or numbers of heads that are not known"),
    ("float[B,4] x, float[4,2] w, float[2] b", "y = com.microsoft.FusedGemm <activation = \"Swishy\"> (x, w, b)",
     "FusedGemm with the activation Swishy"),
    ("float[B,4] x, float[4] s", "y, m = com.microsoft.SkipLayerNormalization (x, x, s)",
     "the mean of SkipLayerNormalization is used"),
    # columns
    ("float[8,4] x, float[B,2] z", "s = Shape (z) n = Slice (s, zero, one) y = Slice (x, n, large, zero)",
     "Slice up to 2147483648, which is not a number"),
    ("float[B,4] x", "y = Slice (x, zero, large, zero, two)",
     "Slice with a step of an axis of extent B, which is not a number"),
    # einsum
    ("float[4,4] x", "y = Einsum <equation = \"aa->a\"> (x)",
     "Einsum of aa->a: an ellipsis, a diagonal or no explicit result"),
    ("float[B,4] x, float[L,3] z", "y = Einsum <equation = \"ab,ac->bc\"> (x, z)", "extents B and L of a differ"),
    ("float[B,4] x, int64[B,3] i", "s = com.microsoft.Gelu (x) y = GatherND (s, i)",
     "GatherND by more indices than there are dimensions"),
    ("float[B,4] x", "s = com.microsoft.Gelu (x) "
     "y = Einsum <equation = \"abc->c\"> (s)", "Einsum of abc->c: an input has another number of dimensions"),
    # elementwise
    ("float[4] x, float[1,4] s", "y = PRelu (x, s)", "the slope of PRelu has more dimensions than its input"),
    # linear
    ("float[6,4] x, float[4,2] w, float[2,3,2] z", "c = Reshape (z, six) y = Gemm (x, w, c)",
     "the bias of Gemm does not broadcast to its product"),
    # mask
    ("float[B,4] x, bool[L] m, float[N,4] u", "p = NonZero (m) i = Transpose (p) y = ScatterND (x, i, u)",
     "ScatterND of rows that are not proven to be those of its target"),
    # recurrent
    ("float[B,4] x, float[2,4,1] w", """n = Shape (x) k = Size (n) c = Equal (k, two) u = If (c) <
        then_branch = a () => (t) { t = Identity (x) }, else_branch = b () => (f) { f = Unsqueeze (x, two) }>
        y = Conv (u, w)""", "Conv of an input and a weight of different ranks"),
    ("float[5,B,4] x, float[1,9,4] w, float[1,9,3] r, float[1,M,3] h", "z, y = GRU <hidden_size = 3> (x, w, r, , , h)",
     "extents B and M are not known to be equal"),
    # relabel
    ("float[B,4] x", "y = Reshape <allowzero = 1> (x, nought)", "its axes cannot be cut to the target shape [0, 4]"),
    ("float[B,4] x, int64[N] s", "r = Reshape (x, s) y = Unsqueeze (r, zero)", "the rank of the input is unknown"),
    ("float[B,3] x", "y = Reshape (x, rows)", "its axes cannot be cut to the target shape None"),
    ("float[B,4] x", "y = Squeeze (x, zero)", "Squeeze of an axis that is not known to have extent 1"),
    ("float[B,4] x, float[L,4] z", "s = Shape (z) y = Expand (x, s)", "Expand of extent B to L, not proven equal"),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "body", "reason"), REFUSED)
def test_refusals(inputs: str, body: str, reason: str) -> None:
    """The rule itself, on the last node: whether that deserves a remark is another question."""
    stored = {
        "axis": 0,
        "zero": [0],
        "one": [1],
        "two": [2],
        "large": [2**31],
        "rows": [-1, 2],
        "six": [6, 2],
        "nought": [0, 4],
    }
    constants: dict[str, Any] = {
        name: np.array(v, np.int64) for name, v in stored.items() if re.search(rf"\b{name}\b", body)
    }
    text = f"g ({inputs}) => (float[M] y) {{ {body} }}"
    graph = Model(from_proto(parse(text, opset=23, domains=', "com.microsoft" : 1', **constants)))
    program = best_plan(read(graph, roles_of(graph, [], 500)), 500).program
    node = graph.graph.node[-1]
    values = tuple(program.values[name] if name else None for name in node.input)
    derived = DOMAINS[node.domain][node.op_type](Op(node, values, 23), program.context)
    assert isinstance(derived, Refused)
    assert derived.reason == reason
