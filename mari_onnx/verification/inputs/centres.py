"""What a model takes from its features: the means of a standardization that was exported with it.

    (x - mean) / deviation        x near the mean, which may be large, gives small numbers with all of their digits
    Concat(x, z) - mean           each column has its own mean, wherever the column came from

Rounding that is lost on the way shows only where features are near these numbers, as those of real requests are. So the
features are followed by their values: a model is run on features that are all different, and where an operand of a Sub
or an Add holds the value of a feature, the constant there is what is taken from that feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, ValueInfoProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from mari_onnx.verification.inputs.draw import Input
from mari_onnx.verification.inputs.flow import FIRST, MOVES
from mari_onnx.verification.runtimes.onnxruntime import Array, RunError, Source, Values

CARRIES = {op_type for op_type, operands in MOVES.items() if operands == FIRST} | {"Concat"}
"""The operators through which a feature is followed."""


@dataclass(frozen=True)
class _Taken:
    """A constant that is taken from a tensor; one that is added is taken with the other sign."""

    tensor: str
    constant: Array


def centres(source: Source, features: Sequence[Input], feeds: Values) -> dict[str, Array]:
    """By feature, what the model takes from each element of a row; 0 for an element that nothing is taken from.

    `feeds` are inputs on which the model runs, and in which all features are different. Features from which nothing is
    taken are left out, and all are where the model does not run.
    """
    taken = list(_taken(source.proto.graph, {each.name for each in features}))
    if not taken:
        return {}
    try:
        values = _observed(source, {each.tensor for each in taken}, feeds)
    except RunError:
        return {}
    places = {
        value: (each.name, place % max(feeds[each.name][:1].size, 1))
        for each in features
        for place, value in enumerate(feeds[each.name].ravel().tolist())
    }
    found = {each.name: np.zeros(feeds[each.name].shape[1:]) for each in features}
    for each in taken:
        value = values[each.tensor]
        for element, constant in zip(value.ravel().tolist(), _spread(each.constant, value), strict=True):
            if element in places:
                name, place = places[element]
                found[name].reshape(-1)[place] = constant
    return {name: centre for name, centre in found.items() if centre.any()}


def _taken(graph: onnx.GraphProto, features: set[str]) -> Iterator[_Taken]:
    """The constants that the graph takes from tensors that may hold features."""
    carried = set(features)
    constants = {t.name: t for t in graph.initializer if not uses_external_data(t)}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
        if node.op_type in CARRIES and not carried.isdisjoint(node.input):
            carried.update(node.output)
        if node.op_type in ("Add", "Sub") and not carried.isdisjoint(node.input):
            yield from (
                _Taken(tensor, numpy_helper.to_array(constants[other]) * (-1 if node.op_type == "Add" else 1))
                for tensor, other in _operands(node)
                if tensor in carried and other in constants
            )


def _operands(node: NodeProto) -> tuple[tuple[str, str], tuple[str, str]]:
    left, right = node.input
    return (left, right), (right, left)


def _observed(source: Source, tensors: set[str], feeds: Values) -> Values:
    """The values of tensors inside the model. Raises RunError where the model does not run."""
    probe = onnx.ModelProto()
    probe.CopyFrom(source.proto)
    there = {output.name for output in probe.graph.output}
    probe.graph.output.extend(ValueInfoProto(name=name) for name in sorted(tensors - there - feeds.keys()))
    return feeds | source.runner(source.variant(probe))(feeds)


def _spread(constant: Array, value: Array) -> list[float]:
    """The constant for each element of the value; 0 where the constant has more elements than the value."""
    try:
        spread = np.broadcast_to(constant, value.shape)
    except ValueError:
        return [0.0] * value.size
    return [float(each) for each in spread.ravel()]
