"""A wide MLP: as exported, optimized, and split by hand.

The goal is the speed of the hand-split form, `Gemm(item, W_i, C = Gemm(user, W_u, bias))`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, parser

from benchmarks.timing import compare
from mari_onnx import optimize

USER, ITEM, HIDDEN = 4000, 500, (512, 256)
GOAL = 1.10

HEAD = f"""<ir_version: 9, opset_import: ["" : 18]>
mlp (float[1, {USER}] user, float[batch, {ITEM}] item) => (float[batch, 1] score) {{"""
TAIL = """
    h1 = Relu(g1)
    g2 = Gemm(h1, W2, b2)
    h2 = Relu(g2)
    score = Gemm(h2, W3, b3)
}"""
EXPORT = f"""
    rows = Shape <start = 0, end = 1> (item)
    width = Constant <value = int64[1] {{{USER}}}> ()
    shape = Concat <axis = 0> (rows, width)
    users = Expand (user, shape)
    x = Concat <axis = 1> (users, item)
    g1 = Gemm(x, W1, b1)"""
BY_HAND = """
    once = Gemm(user, W1_user, b1)
    g1 = Gemm(item, W1_item, once)"""


def weights() -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    widths = (USER + ITEM, *HIDDEN, 1)
    out = {}
    for i, (k, n) in enumerate(pairwise(widths), 1):
        out[f"W{i}"] = rng.normal(0, k**-0.5, (k, n)).astype(np.float32)
        out[f"b{i}"] = rng.normal(0, 0.1, n).astype(np.float32)
    out["W1_user"], out["W1_item"] = np.split(out["W1"], [USER])
    return out


def model(first_layer: str) -> onnx.ModelProto:
    made = parser.parse_model(HEAD + first_layer + TAIL)
    used = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights().items() if name in used
    )
    return made


def run() -> bool:
    export, by_hand = model(EXPORT), model(BY_HAND)
    ours = optimize(export, verify=False).model
    rng = np.random.default_rng(1)
    met = True
    for batch in (100, 500):
        feeds = {
            "user": rng.normal(size=(1, USER)).astype(np.float32),
            "item": rng.normal(size=(batch, ITEM)).astype(np.float32),
        }
        met &= compare({"by hand": by_hand, "ours": ours, "export": export}, feeds, f"{batch} candidates", GOAL)
    return met
