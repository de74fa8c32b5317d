"""The times of single nodes in onnxruntime on one thread, beside the estimates of `mari_onnx.ir.cost`.

Each node is put into a graph 2 times and 34 times, side by side and without fusion. The difference of the two times is
that of 32 nodes. The constants of the cost model are round figures from this table.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from benchmarks.timing import paired, session
from mari_onnx.analysis.interpret import interpret
from mari_onnx.analysis.premises import NOTHING
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.cost import NS_PER_CAPTURE, NS_PER_IF, NS_PER_NODE_OF_BRANCH, CostModel
from mari_onnx.serving.two_graphs import join

FEW, MANY = 2, 34


class Case(NamedTuple):
    """One node: its inputs are shapes, or arrays where they are constants. Floats are positive unless `signed`."""

    op_type: str
    inputs: tuple[tuple[int, ...] | npt.NDArray[Any], ...]
    attributes: dict[str, Any] = {}  # noqa: RUF012
    signed: bool = False


def floats(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


def integers(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values)


def ids(high: int, *shape: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, high, shape)


WIDE = (512, 256)
CASES: dict[str, list[Case]] = {
    "launch": [
        Case("Add", ((1, 8), floats(8))),
        Case("Relu", ((1, 8),)),
        Case("Sigmoid", ((1, 8),)),
        Case("Gemm", ((1, 8), floats(8, 8), floats(8))),
        Case("MatMul", ((1, 4, 8), floats(8, 8))),
        Case("Gather", (floats(100, 8), (1,))),
        Case("Concat", ((1, 8), (1, 8)), {"axis": 1}),
        Case("Concat", (*[(1, 8)] * 20,), {"axis": 1}),
        Case("Slice", ((1, 8), integers(0), integers(4), integers(1))),
        Case("Transpose", ((1, 4, 8),), {"perm": [0, 2, 1]}),
        Case("Expand", ((1, 8), integers(4, 8))),
        Case("ReduceSum", ((1, 4, 8), integers(1))),
        Case("Softmax", ((1, 8),)),
        Case("Reshape", ((1, 8), integers(2, 4))),
        Case("Unsqueeze", ((1, 8), integers(0))),
        Case("Shape", ((1, 8),)),
    ],
    "elements written": [
        Case("Add", (WIDE, WIDE)),
        Case("Add", (WIDE, floats(256))),
        Case("Add", ((5000, 16), floats(16))),
        Case("Add", ((500, 1), floats(1))),
        Case("Add", ((500, 1), floats(1, 1))),
        Case("Add", ((500, 20, 64), (20, 64))),
        Case("Add", ((500, 1, 64), (20, 64))),
        Case("Mul", ((200, 14, 1, 16), (200, 1, 14, 16))),
        Case("Mul", (WIDE, (512, 1))),
        Case("Relu", (WIDE,)),
        Case("Where", (ids(2, 512, 256).astype(bool), WIDE, floats(1))),
        Case("Concat", ((512, 128), (512, 128)), {"axis": 1}),
        Case("Concat", (*[(512, 16)] * 16,), {"axis": 1}),
        Case("Concat", (*[(512, 1)] * 16,), {"axis": 1}),
        Case("Slice", ((512, 512), integers(0), integers(256), integers(1))),
        Case("Slice", ((512, 512), integers(0), integers(16), integers(1))),
        Case("Slice", ((500, 3), integers(1), integers(2), integers(1))),
        Case("Slice", ((500, 3, 80), integers(1), integers(2), integers(1))),
        Case("Expand", ((1, 256), integers(*WIDE))),
        Case("Expand", ((1, 20, 16), integers(500, 20, 16))),
        Case("Expand", ((500, 1, 16), integers(500, 20, 16))),
        Case("Transpose", ((500, 20, 16),), {"perm": [1, 0, 2]}),
        Case("Transpose", ((500, 20, 16),), {"perm": [0, 2, 1]}),
        Case("Transpose", ((500, 20, 4, 16),), {"perm": [0, 2, 1, 3]}),
        Case("Transpose", ((4, 500, 20, 16),), {"perm": [1, 2, 0, 3]}),
        Case("Transpose", ((500, 20, 4, 16),), {"perm": [0, 2, 3, 1]}),
        Case("Transpose", ((500, 20, 4, 16),), {"perm": [2, 0, 3, 1]}),
        Case("Gather", (floats(1000, 16), (500,))),
        Case("Gather", (floats(1000, 16), (500, 20))),
        Case("Gather", (floats(1000, 1), (500, 20))),
        Case("ReduceSum", ((500, 20, 16), integers(1))),
        Case("ReduceSum", ((500, 20, 16), integers(2))),
        Case("ReduceSum", ((500, 3, 48), integers(1))),
        Case("ReduceSum", ((500, 40, 1), integers(1))),
        Case("ReduceSum", ((500, 50, 64), integers(1))),
        Case("ReduceMax", ((500, 3, 48), integers(1))),
        Case("ReduceL2", ((500, 20, 16), integers(1))),
        Case("ReduceMean", ((500, 3, 48), integers(1))),
        Case("ReduceMean", ((512, 256), integers(1))),
        Case("Sum", ((500, 48),) * 3),
        Case("Sum", ((500, 16),) * 6),
        Case("BatchNormalization", (WIDE, *[np.abs(floats(256))] * 4)),
        Case("LayerNormalization", (WIDE, floats(256), floats(256))),
        Case("LayerNormalization", ((10000, 32), floats(32))),
    ],
    "multiply-adds": [
        Case("Gemm", ((500, 512), floats(512, 512), floats(512))),
        Case("Gemm", ((500, 128), floats(128, 64), floats(64))),
        Case("Gemm", ((500, 32), floats(32, 16), floats(16))),
        Case("Gemm", ((500, 64), floats(64, 1), floats(1))),
        Case("Gemm", ((50, 512), floats(512, 512), floats(512))),
        Case("Gemm", ((1, 512), floats(512, 512), floats(512))),
        Case("Gemm", ((1, 512), floats(512, 512), floats(512)), {"transB": 1}),
        Case("MatMul", ((500, 20, 64), floats(64, 32))),
    ],
    "products with many entries": [
        Case("MatMul", ((500, 1, 16), (500, 16, 16))),
        Case("MatMul", ((500, 20, 16), (500, 16, 20))),
        Case("MatMul", ((500, 1, 16), (1, 16, 50))),
        Case("MatMul", ((1, 500, 16), (1, 16, 50))),
        Case("MatMul", ((500, 16, 16), floats(16, 16))),
        Case("MatMul", ((16, 16), (500, 16, 16))),
        Case("MatMul", ((1, 50, 16), (500, 16, 4))),
        Case("MatMul", (floats(32, 128), (500, 128, 1))),
        Case("MatMul", (floats(108, 216), (100, 216, 64))),
        Case("MatMul", ((500, 20, 64), (500, 64, 1))),
        Case("MatMul", ((500, 64, 64), (500, 64, 64))),
        Case("MatMul", ((500, 4, 1, 16), (4, 16, 50))),
        Case("MatMul", ((4, 500, 16), (4, 16, 50))),
        Case("MatMul", ((1, 10000, 64), floats(4, 64, 16))),
        Case("MatMul", ((1, 8000, 32), floats(2, 32, 16))),
    ],
    "transcendental": [
        Case(op_type, (WIDE,))
        for op_type in ("Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Erf", "Softplus", "Elu", "Selu", "Gelu", "Softmax")
    ]
    + [
        Case("Pow", (WIDE, np.array(2, np.float32))),
        Case("Pow", (WIDE, np.array(2.5, np.float32))),
        Case("Div", (WIDE, WIDE)),
        Case("PRelu", (WIDE, floats(256)), signed=True),
        Case("PRelu", (WIDE, floats(1)), signed=True),
        Case("LeakyRelu", (WIDE,), signed=True),
    ],
}


def graph(case: Case, count: int) -> onnx.ModelProto:
    inputs, constants, names = [], [], []
    for i, given in enumerate(case.inputs):
        names.append(name := f"x{i}")
        if isinstance(given, tuple):
            dtype = onnx.TensorProto.INT64 if case.op_type == "Gather" else onnx.TensorProto.FLOAT
            inputs.append(helper.make_tensor_value_info(name, dtype, given))
        else:
            constants.append(numpy_helper.from_array(given, name))
    nodes = [helper.make_node(case.op_type, names, [f"y{i}"], **case.attributes) for i in range(count)]
    whole = helper.make_graph(nodes, "case", inputs, [], constants)
    made = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    first = shape_inference.infer_shapes(made, data_prop=True).graph.value_info[0]
    made.graph.output.append(first)
    return made


def measured(case: Case) -> float:
    """Nanoseconds for one node."""
    few, many = graph(case, FEW), graph(case, MANY)
    feeds = {}
    for info in few.graph.input:
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        integer = info.type.tensor_type.elem_type == onnx.TensorProto.INT64
        numbers = floats(*shape) if case.signed else np.abs(floats(*shape))
        feeds[info.name] = ids(100, *shape) if integer else numbers
    timing = paired([session(m, optimize=False) for m in (few, many)], feeds, seconds=0.5)
    return 1e3 * (timing.microseconds(1) - timing.microseconds(0)) / (MANY - FEW)


def predicted(case: Case) -> float:
    """The estimate of the cost model, in nanoseconds."""
    return interpret(Model(from_proto(graph(case, 1))), NOTHING, CostModel(500)).work.time


def branch(nodes: int) -> tuple[float, float]:
    """Nanoseconds that an If adds to a call of a graph, measured and predicted.

    The graph has so many nodes, each with a constant, whose results are added up: none may take another's place.
    """
    results = [f"y{i}" for i in range(nodes - 1)]
    made = [helper.make_node("Add", ["x", f"c{i}"], [y]) for i, y in enumerate(results)]
    made.append(helper.make_node("Sum", results, ["y"]))
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", 8]) for name in ("x", "y")]
    constants = [numpy_helper.from_array(floats(8), f"c{i}") for i in range(nodes - 1)]
    whole = helper.make_graph(made, "sum", infos[:1], infos[1:], constants)
    alone = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    both = onnx.ModelProto.FromString(alone.SerializeToString())
    join(both, alone, ("x", 0), 1)
    timing = paired([session(m) for m in (alone, both)], {"x": floats(4, 8)}, seconds=1.0)
    taken = 1e3 * (timing.microseconds(1) - timing.microseconds(0))
    return taken, NS_PER_IF + NS_PER_CAPTURE * nodes + NS_PER_NODE_OF_BRANCH * nodes


def run() -> None:
    logs = []
    for title, cases in CASES.items():
        print(f"\n{title:<28} {'inputs':<34} {'measured ns':>12} {'predicted':>10} {'ratio':>6}")
        for case in cases:
            shapes = " ".join(str(list(i if isinstance(i, tuple) else i.shape)) for i in case.inputs[:2])
            took, said = measured(case), predicted(case)
            logs.append(math.log(said / took))
            print(f"{case.op_type:<28} {shapes:<34} {took:>12.0f} {said:>10.0f} {said / took:>6.2f}", flush=True)
    print(f"\n{'an If around a graph':<28} {'nodes':<34} {'measured ns':>12} {'predicted':>10} {'ratio':>6}")
    for nodes in (4, 16, 64):
        took, said = branch(nodes)
        print(f"{'If':<28} {nodes:<34} {took:>12.0f} {said:>10.0f} {said / took:>6.2f}", flush=True)
    mean, deviation = (math.exp(float(x)) for x in (np.mean(logs), np.std(logs)))
    print(f"\npredicted over measured: geometric mean {mean:.2f}, one deviation a factor of {deviation:.2f}")
