"""Random rankers over one sequence of tokens: what is called the request's does not change with the candidates.

A model has one to three layers of attention over L tokens of the user and one of the candidate, under a mask of some
kind, which may also be a wrong one: one that leaks, that is transposed, or that depends on the candidate. Of each
value whose first rows are known without the candidates, the original gives these rows bit by bit again when other
candidates are drawn. A mask that leaks cannot pass that, wherever it was believed.
"""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.reasons import side
from mari_onnx.document.read import from_proto
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.graphs import Rewritten, Session, parse, rewrite

EXTENTS = (0, 1, 2, 7)
WIDTH = 4
HEAD = """one_token = Unsqueeze (item, one) x0 = Concat <axis = 1> (user, one_token)
    sizes = Shape (x0) tokens = Slice (sizes, one, two_, zero_) t = Squeeze (tokens, zero_)
    r = Range (n0, t, n1) row = Unsqueeze (r, one) last = Sub (t, n1)
    causal = LessOrEqual (r, row) own = Equal (r, row)
    first = Gather <axis = 2> (x0, n0) there = Greater (first, nought) there3 = Unsqueeze (there, one)
    of_user = Gather <axis = 2> (user, n0) seen = Greater (of_user, nought) n = Shape <start = 0, end = 1> (item)
    rows = Concat <axis = 0> (n, one) always = Expand (truth, rows) present = Concat <axis = 1> (seen, always)
    present3 = Unsqueeze (present, one)
    of_both = Shape <start = 0, end = 2> (x0) of_sink = Concat <axis = 0> (of_both, one)
    sink = Expand (learned, of_sink)"""

RIGHT = {
    "causal": "keep = Identity (causal)",
    "distances": "far = Sub (row, r) keep = GreaterOrEqual (far, n0)",
    "a window": "far = Sub (row, r) near = LessOrEqual (far, n1) keep = And (causal, near)",
    "all of the history": "inside = Less (r, last) keep = Or (inside, own)",
    "padding of the history": "both = And (causal, present3) keep = Or (both, own)",
}
WRONG = {
    "none": "keep = Or (causal, all_of_them)",
    "transposed": "keep = GreaterOrEqual (r, row)",
    "a leak": "start = Equal (row, n0) end = Equal (r, last) leak = And (start, end) keep = Or (causal, leak)",
    "by the candidate's data": "late = Or (causal, there3) keep = Or (late, own)",
}
ATTENTION = {
    "softmax": "m{i} = Where (keep, s{i}, nothing) p{i} = Softmax <axis = -1> (m{i})",
    "logarithm": "m{i} = Where (keep, s{i}, nothing) g{i} = LogSoftmax <axis = -1> (m{i}) p{i} = Exp (g{i})",
    "a sink": "m{i} = Where (keep, s{i}, nothing) e{i} = Concat <axis = 2> (m{i}, sink) "
    "d{i} = Softmax <axis = -1> (e{i}) p{i} = Slice (d{i}, zero_, minus, two_)",
    "a sink less the largest": "b{i} = Tanh (s{i}) m{i} = Where (keep, b{i}, far_below) "
    "e{i} = Concat <axis = 2> (sink, m{i}) g{i} = ReduceMax <axes = [2]> (e{i}) j{i} = Sub (e{i}, g{i}) "
    "d{i} = Softmax <axis = -1> (j{i}) p{i} = Slice (d{i}, one, beyond, two_)",
    "written out": "m{i} = Where (keep, s{i}, nothing) g{i} = ReduceMax <axes = [2]> (m{i}) j{i} = Sub (m{i}, g{i}) "
    "e{i} = Exp (j{i}) d{i} = ReduceSum (e{i}, two_) p{i} = Div (e{i}, d{i})",
    "finite": "b{i} = Tanh (s{i}) m{i} = Where (keep, b{i}, far_below) p{i} = Softmax <axis = -1> (m{i})",
    "integers": "qs{i} = QuantizeLinear (s{i}, step, middle) ds{i} = DequantizeLinear (qs{i}, step, middle) "
    "m{i} = Where (keep, ds{i}, nothing) e{i} = Softmax <axis = -1> (m{i}) qp{i} = QuantizeLinear (e{i}, part, none) "
    "p{i} = DequantizeLinear (qp{i}, part, none)",
    "finite integers": "qs{i} = QuantizeLinear (s{i}, step, middle) ds{i} = DequantizeLinear (qs{i}, step, middle) "
    "m{i} = Where (keep, ds{i}, far_below) p{i} = Softmax <axis = -1> (m{i})",
    "silu": "u{i} = Sigmoid (s{i}) w{i} = Mul (u{i}, s{i}) z{i} = Cast <to = 1> (keep) p{i} = Mul (w{i}, z{i})",
    "sigmoid": "m{i} = Where (keep, s{i}, nothing) p{i} = Sigmoid (m{i})",
    "after": "u{i} = Relu (s{i}) p{i} = Where (keep, u{i}, nought)",
}


def layer(i: int, attention: str) -> str:
    return f"""q{i} = MatMul (x{i}, Wq{i}) k{i} = MatMul (x{i}, Wk{i}) v{i} = MatMul (x{i}, Wv{i})
        kt{i} = Transpose <perm = [0, 2, 1]> (k{i}) s{i} = MatMul (q{i}, kt{i}) {attention.format(i=i)}
        c{i} = MatMul (p{i}, v{i}) o{i} = MatMul (c{i}, Wo{i}) h{i} = Add (x{i}, o{i})
        f{i} = MatMul (h{i}, Wf{i}) a{i} = Relu (f{i}) x{i + 1} = Add (h{i}, a{i})"""


def token_model(random: Random, mask: str) -> tuple[onnx.ModelProto, str]:
    """A model with a mask, and how its scores become weights."""
    layers, kind = random.randint(1, 3), random.choice(sorted(ATTENTION))
    rng = np.random.default_rng(random.randint(0, 2**31))
    given: dict[str, Any] = {
        "one": [1], "two_": [2], "zero_": [0], "n0": np.array(0), "n1": np.array(1), "truth": [[True]],
        "all_of_them": np.array(True), "nothing": np.float32(-np.inf), "far_below": np.float32(-1e9),
        "learned": np.array([[[0.25]]], np.float32), "minus": [-1], "beyond": [2**62],
        "step": np.float32(0.03), "middle": np.int8(5), "part": np.float32(1 / 255), "none": np.uint8(0),
        "nought": np.float32(0), "place": np.array(-1), "w": rng.normal(size=(WIDTH, 2)).astype(np.float32),
    }  # fmt: skip
    given |= {f"W{n}{i}": rng.normal(0, 0.5, (WIDTH, WIDTH)).astype(np.float32) for n in "qkvof" for i in range(3)}
    body = f"""{HEAD} {mask} {" ".join(layer(i, ATTENTION[kind]) for i in range(layers))}
        z = Gather <axis = 1> (x{layers}, place) y = MatMul (z, w)"""
    text = f"g (float[B, L, {WIDTH}] user, float[B, {WIDTH}] item) => (float[B, 2] y) {{ {body} }}"
    model = parse(text, opset=17, **given)
    read = {name for node in model.graph.node for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model, kind


def drawn(seed: int, length: int, batch: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    user = np.repeat(rng.normal(size=(1, length, WIDTH)), batch, axis=0)
    return {"user": user.astype(np.float32), "item": rng.normal(size=(batch, WIDTH)).astype(np.float32)}


def of_the_request(result: Rewritten) -> list[str]:
    """The values whose first rows, those of the history, are known without the candidates."""
    found = []
    for name, value in result.program.values.items():
        parts = value.parts
        if parts is None or value.dims is None or len(value.dims) != 3 or value.dims[1] != (parts.axis,):
            continue
        if not value.constant and side(result.program.context, parts.pieces[0][1]) == "user":
            found.append(name)
    return found


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    out.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != "y")
    return out


CASES = [(name, seed) for name in (*RIGHT, *WRONG) for seed in range(4)]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_what_is_the_requests_is_bit_by_bit_the_same_for_other_candidates(name: str, seed: int) -> None:
    model, kind = token_model(Random(f"{name} {seed}"), (RIGHT | WRONG)[name])
    result = rewrite(model)
    names = [n for n in of_the_request(result) if n != "x0"]
    proved = any(n.startswith("c") for n in names)
    assert proved == (name in RIGHT), f"{kind}: {names}"
    original, written = Session(with_outputs(model, names)), Session(result.model)
    exact = [
        Exact(Source(which, from_proto(each))) for which, each in (("reference", model), ("optimized", result.model))
    ]
    for length, batch in product(EXTENTS, EXTENTS):
        feeds = drawn(10 * length + batch, length, batch)
        others = {**feeds, "item": drawn(999, length, batch)["item"]}
        (wanted, *values), (_, *again) = original.run(feeds), original.run(others)
        for n, one, other in zip(names, values, again, strict=True):
            np.testing.assert_array_equal(one[:, :length], other[:, :length], f"{n} ({kind}), {length} tokens")
        (found,) = written.run(feeds)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        if batch and length:
            a, b = (each(feeds)["y"] for each in exact)
            assert np.abs(a - b).max() <= 1e-12 * max(np.abs(a).max(), 1e-30), f"{kind}, {length} tokens"
