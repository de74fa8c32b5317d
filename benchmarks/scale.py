"""The time of the command `mari-onnx optimize` on wide graphs, start-up included and verification left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HIDDEN = 8, 64
GOALS = {500: 1.5, 4000: 4.0}
"""The goal in seconds, by number of inputs; the graphs have 1,255 and 10,005 nodes."""
RUNS = 3


def wide(features: int) -> onnx.ModelProto:
    """A model of many small inputs, [1, 8] (user) and [batch, 8] (item) in turn.

    Each passes a Mul and a Relu, those of the user an Expand before. A Concat of all and a product follow.
    """
    rng = np.random.default_rng(0)
    inputs, nodes = [], []
    constants = {
        "width": np.array([WIDTH]),
        "scale": rng.normal(size=WIDTH).astype(np.float32),
        "weight": rng.normal(size=(features * WIDTH, HIDDEN)).astype(np.float32),
        "bias": rng.normal(size=HIDDEN).astype(np.float32),
    }
    nodes.append(helper.make_node("Shape", ["item_1"], ["rows"], start=0, end=1))
    nodes.append(helper.make_node("Concat", ["rows", "width"], ["shape"], axis=0))
    columns = []
    for i in range(features):
        is_user = i % 2 == 0
        name = x = f"user_{i}" if is_user else f"item_{i}"
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1 if is_user else "batch", WIDTH]))
        if is_user:
            nodes.append(helper.make_node("Expand", [name, "shape"], [x := f"{name}.expanded"], f"{name}/Expand"))
        nodes.append(helper.make_node("Mul", [x, "scale"], [f"{name}.scaled"], f"{name}/Mul"))
        nodes.append(helper.make_node("Relu", [f"{name}.scaled"], [f"{name}.relu"], f"{name}/Relu"))
        columns.append(f"{name}.relu")
    nodes.append(helper.make_node("Concat", columns, ["x"], "Concat", axis=1))
    nodes.append(helper.make_node("MatMul", ["x", "weight"], ["product"], "MatMul"))
    nodes.append(helper.make_node("Add", ["product", "bias"], ["y"], "Add"))
    graph = helper.make_graph(
        nodes, "wide", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", HIDDEN])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run() -> bool:
    met = True
    with TemporaryDirectory() as folder:
        for features, goal in GOALS.items():
            model, out = wide(features), Path(folder) / "out.onnx"
            onnx.save(model, Path(folder) / "in.onnx")
            command = [sys.executable, "-m", "mari_onnx", "optimize", str(Path(folder) / "in.onnx"), str(out)]
            seconds = []
            for _ in range(RUNS):
                start = perf_counter()
                subprocess.run([*command, "--no-verify", "--overwrite", "--quiet"], check=True, capture_output=True)
                seconds.append(perf_counter() - start)
            before, after = len(model.graph.node), len(onnx.load(out).graph.node)
            best = min(seconds)  # other work on the machine can only add to a time
            met &= best < goal
            verdict = "met" if best < goal else "MISSED"
            print(f"{before:,} nodes -> {after:,}: {best:.2f} s, {verdict}: less than {goal} s", flush=True)
    return met
