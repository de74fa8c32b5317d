"""Forty small features, user and item in turn, each from an embedding or a number of its own, in one Concat and Gemm.

Split one by one they would be slower than not split. The goal is the speed of the form gathered by hand: one product of
all item columns, one of all user columns.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.timing import compare
from mari_onnx import optimize

FEATURES, WIDTH, HIDDEN, ROWS = 40, 16, 512, 1000
GOAL = 1.10


def model(*, by_hand: bool) -> onnx.ModelProto:
    """Every other feature is the user's; two of three come from an embedding, the third is a row of floats."""
    rng = np.random.default_rng(0)
    inputs, nodes, constants = [], [], {}
    features: dict[str, list[str]] = {"user": [], "item": []}
    order = []
    for i in range(FEATURES):
        side = "user" if i % 2 == 0 else "item"
        rows: int | str = 1 if side == "user" else "batch"
        name = f"{side}_{i}"
        if i % 3 == 2:
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, WIDTH]))
            columns = name
        else:
            inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, [rows]))
            constants[f"table_{i}"] = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
            columns = f"{name}.embedding"
            nodes.append(helper.make_node("Gather", [f"table_{i}", name], [columns]))
        features[side].append(columns)
        order.append((side, columns))
    weight = rng.normal(0, 0.05, (FEATURES * WIDTH, HIDDEN)).astype(np.float32)
    bias = rng.normal(0, 0.1, HIDDEN).astype(np.float32)
    if by_hand:
        blocks = np.split(weight, FEATURES)
        for side, names in features.items():
            nodes.append(helper.make_node("Concat", names, [side], axis=1))
            constants[f"W_{side}"] = np.concatenate([w for w, (s, _) in zip(blocks, order, strict=True) if s == side])
        nodes.append(helper.make_node("Gemm", ["user", "W_user", "bias"], ["once"]))
        nodes.append(helper.make_node("Gemm", ["item", "W_item", "once"], ["hidden"]))
        constants["bias"] = bias
    else:
        nodes.append(helper.make_node("Shape", ["item_1"], ["rows"], start=0, end=1))
        constants["width"] = np.array([WIDTH])
        nodes.append(helper.make_node("Concat", ["rows", "width"], ["shape"], axis=0))
        expanded = []
        for side, columns in order:
            if side == "user":
                nodes.append(helper.make_node("Expand", [columns, "shape"], [f"{columns}.expanded"]))
            expanded.append(f"{columns}.expanded" if side == "user" else columns)
        nodes.append(helper.make_node("Concat", expanded, ["x"], axis=1))
        nodes.append(helper.make_node("Gemm", ["x", "W", "bias"], ["hidden"]))
        constants.update(W=weight, bias=bias)
    nodes.append(helper.make_node("Relu", ["hidden"], ["y"]))
    graph = helper.make_graph(
        nodes, "fragmented", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", HIDDEN])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run() -> bool:
    export, by_hand = model(by_hand=False), model(by_hand=True)
    ours = optimize(export, verify=False).model
    rng = np.random.default_rng(1)
    met = True
    for batch in (100, 500):
        feeds = {}
        for info in export.graph.input:
            shape = [1 if d.dim_value == 1 else d.dim_value or batch for d in info.type.tensor_type.shape.dim]
            integers = info.type.tensor_type.elem_type == TensorProto.INT64
            feeds[info.name] = rng.integers(0, ROWS, shape) if integers else rng.normal(size=shape).astype(np.float32)
        met &= compare({"by hand": by_hand, "ours": ours, "export": export}, feeds, f"{batch} candidates", GOAL)
    return met
