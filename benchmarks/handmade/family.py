"""A family of models: one function, as an exporter writes it and as one would write it by hand for speed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper, parser

IDS = 1000
"""Rows of every table, and how many ids there are."""

Constants: TypeAlias = dict[str, Any]
"""Arrays, or what numpy makes one of, by name."""


@dataclass(frozen=True)
class Family:
    """Both models of a family, from ONNX's textual syntax without the header.

    `signature` are the inputs and outputs; inputs in `tiled` have the candidates first, and the same row for each.
    Constants are what the nodes of either text read by name. Those of the form by hand are the export's, cut, put
    together or turned, and never added or multiplied: trained numbers stay what they are.
    """

    signature: str
    export: str
    by_hand: str
    constants: Constants
    tiled: tuple[str, ...] = ()

    def model(self, nodes: str) -> onnx.ModelProto:
        made = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> g {self.signature} {{ {nodes} }}')
        read = {name for node in made.graph.node for name in node.input}
        for name, array in self.constants.items():
            if name in read:
                made.graph.initializer.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return made

    def request(self, batch: int) -> dict[str, npt.NDArray[Any]]:
        """One user and `batch` different candidates; every seventh id is the padding, 0."""
        rng = np.random.default_rng(1)
        out: dict[str, npt.NDArray[Any]] = {}
        for info in self.model(self.export).graph.input:
            given = info.type.tensor_type
            shape = [d.dim_value or batch for d in given.shape.dim]
            drawn = [1, *shape[1:]] if info.name in self.tiled else shape
            if given.elem_type == TensorProto.INT64:
                out[info.name] = rng.integers(0, IDS, drawn) * (rng.random(drawn) > 1 / 7)
            else:
                out[info.name] = rng.normal(size=drawn).astype(np.float32)
            out[info.name] = np.broadcast_to(out[info.name], shape).copy()
        return out


class Weights:
    """Trained numbers, drawn so that activations keep their scale; float32."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def table(self, width: int, rows: int = IDS) -> npt.NDArray[np.float32]:
        return self.rng.normal(0, 0.5, (rows, width)).astype(np.float32)

    def matrix(self, k: int, n: int) -> npt.NDArray[np.float32]:
        return self.rng.normal(0, k**-0.5, (k, n)).astype(np.float32)

    def bias(self, n: int) -> npt.NDArray[np.float32]:
        return self.rng.normal(0, 0.1, n).astype(np.float32)

    @staticmethod
    def scalar(number: float) -> npt.NDArray[np.float32]:
        return np.array(number, np.float32)

    def layers(self, name: str, *widths: int) -> dict[str, npt.NDArray[np.float32]]:
        """`W` and `b` of each Linear from one width to the next: NAME_W1, NAME_b1, NAME_W2, ..."""
        out = {}
        for i, (k, n) in enumerate(pairwise(widths), 1):
            out[f"{name}_W{i}"], out[f"{name}_b{i}"] = self.matrix(k, n), self.bias(n)
        return out


def mlp(name: str, x: str, y: str, layers: int, first: int = 1) -> str:
    """Layers from `first` on with Relu between them, from tensor x to tensor y."""
    nodes = []
    for i in range(first, layers + 1):
        out = y if i == layers else f"{name}_g{i}"
        nodes.append(f"{out} = Gemm ({x}, {name}_W{i}, {name}_b{i})")
        if i < layers:
            nodes.append(f"{name}_h{i} = Relu ({out})")
            x = f"{name}_h{i}"
    return "\n".join(nodes)


def expand(x: str, y: str, like: str, *widths: int) -> str:
    """torch's `x.expand(like.size(0), *widths)`, as its exporter writes it."""
    shape = ", ".join(map(str, widths))
    return f"""
        {y}_rows = Shape <start = 0, end = 1> ({like})
        {y}_widths = Constant <value = int64[{len(widths)}] {{{shape}}}> ()
        {y}_shape = Concat <axis = 0> ({y}_rows, {y}_widths)
        {y} = Expand ({x}, {y}_shape)"""
