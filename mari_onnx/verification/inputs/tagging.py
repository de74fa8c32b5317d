"""Tagged inputs: numbers that tell every element of every input apart, and the places where each of them arrives.

The part of the graph between the inputs and the nodes that use ids as an index is cut out and run twice: once on zeros,
and once with another number, a *tag*, in every element of every input. Where an index differs by a tag between the two
runs, the element with this tag arrived there. The index of the first run is the offset that is added on the way. As the
graph itself is run, no exporter's way of moving ids needs a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import NodeProto, ValueInfoProto, numpy_helper
from onnx.external_data_helper import uses_external_data
from onnx.inliner import inline_local_functions

from mari_onnx.document.scopes import captures, reads
from mari_onnx.verification.inputs.draw import Input
from mari_onnx.verification.inputs.flow import COMPARES, WRAPS, Flow, Use, needed
from mari_onnx.verification.runtimes.onnxruntime import Array, RunError, Source

TAG = 1 << 20
"""The first tag. Tags are TAG, TAG + 1, ... below 2 TAG: exact in float32, and the sum of two tags is no tag."""

SMALLEST = 4
"""Bytes of the smallest element type that holds a tag."""


@dataclass(frozen=True)
class Arrival:
    """The tags that arrived at one use, element by element of the index.

    `arrived` says whether a tag did, and `element` is then the number of the input's element (see `Tagged`). `start` is
    the value of the index where all inputs are 0: the offset that is added to an id on its way.
    """

    use: Use
    start: Array
    element: Array
    arrived: Array


@dataclass(frozen=True)
class Tagged:
    """A model at fixed extents, `sizes` by symbol, and the arrivals of its inputs' elements.

    The elements of all inputs are numbered: those of input `name` from `first[name]` on, `count` in all. By name of the
    tensor, `known` are the values that ids are compared with, and `shapes` the shapes of the tensors that they index.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, Input]
    sizes: Mapping[str, int]
    first: Mapping[str, int]
    shapes_of_inputs: Mapping[str, tuple[int, ...]]
    arrivals: Sequence[Arrival]
    known: Mapping[str, Array]
    shapes: Mapping[str, list[int]]

    @property
    def count(self) -> int:
        """The number of elements of all inputs together."""
        return sum(int(np.prod(shape)) for shape in self.shapes_of_inputs.values())

    @cached_property
    def stored(self) -> set[str]:
        """The names of the model's initializers."""
        return {t.name for t in self.model.graph.initializer}

    def part(self, name: str) -> slice:
        """The numbers of an input's elements."""
        first = self.first[name]
        return slice(first, first + int(np.prod(self.shapes_of_inputs[name])))

    def named(self, elements: Array) -> list[str]:
        """The inputs that have some of these elements."""
        parts = {name: self.part(name) for name in self.first}
        return [n for n, part in parts.items() if ((elements >= part.start) & (elements < part.stop)).any()]


def tag(source: Source, inputs: Sequence[Input], sizes: Mapping[str, int], value: int) -> Tagged:
    """Run the nodes of a model that move ids, on zeros and on tags, at these extents.

    Every other operand of such a node has the value that it has where all inputs hold `value`. Raises RunError where
    the model does not run on inputs that hold `value`.
    """
    return _Tagging(source, inputs, sizes, value).run()


class _Tagging:
    def __init__(self, source: Source, inputs: Sequence[Input], sizes: Mapping[str, int], value: int) -> None:
        self.source = source
        self.model = inline_local_functions(source.proto) if source.proto.functions else source.proto
        self.inputs = {each.name: each for each in inputs}
        self.sizes = sizes
        self.constants = {t.name: t for t in self.model.graph.initializer}
        self.plain = {each.name: _filled(each, sizes, value) for each in inputs}
        self.zeros = {each.name: _filled(each, sizes, 0) for each in inputs}

    def run(self) -> Tagged:
        taggable = [e.name for e in self.inputs.values() if e.dtype.kind in "iuf" and e.dtype.itemsize >= SMALLEST]
        flow = Flow(set(taggable))
        flow.follow(self.model.graph.node)
        moves = needed(flow.moves, {use.value for use in flow.uses})
        known, shapes = self._run_plainly(moves, flow)
        numbers = self._numbered(taggable)
        count = sum(self.zeros[name].size for name in numbers)
        move = self._mover(moves, {use.value for use in flow.uses}, flow, known)
        at_zero, at_tags = move(self.zeros), move(self._tagged(numbers))
        arrivals = [_arrival(use, at_zero[use.value], at_tags[use.value], count) for use in flow.uses]
        first, behind = dict(numbers), count
        for name, zeros in self.zeros.items():
            if name not in first:
                first[name] = behind
                behind += zeros.size
        shapes_of_inputs = {name: self.zeros[name].shape for name in first}
        return Tagged(self.model, self.inputs, self.sizes, first, shapes_of_inputs, arrivals, known, shapes)

    def _numbered(self, taggable: Sequence[str]) -> dict[str, int]:
        """The number of the first element of each input that has tags; an input that is too large has none."""
        numbers, first = {}, 0
        for name in taggable:
            size = self.zeros[name].size
            if first + size < TAG:
                numbers[name] = first
                first += size
        return numbers

    def _tagged(self, numbers: Mapping[str, int]) -> dict[str, Array]:
        """Inputs that hold their tags, and zeros where there are none."""
        tagged = dict(self.zeros)
        for name, first in numbers.items():
            zeros = self.zeros[name]
            tagged[name] = (np.arange(zeros.size) + TAG + first).reshape(zeros.shape).astype(zeros.dtype)
        return tagged

    def _run_plainly(self, moves: list[NodeProto], flow: Flow) -> tuple[dict[str, Array], dict[str, list[int]]]:
        """The values that moves and comparisons take besides ids, and the shapes of the tensors that are indexed."""
        operands = {name for node in moves for name in flow.fixed(node).values()}
        operands |= {name for node in moves for name in {*captures(node)} - flow.carried}
        by_value = [use for use in flow.uses if use.node.op_type in COMPARES | {"OneHot"}]
        operands |= {use.other for use in by_value if use.other not in flow.carried}
        indexed = {use.other for use in flow.uses if use not in by_value}
        known = {name: self.plain[name] for name in operands & self.plain.keys()}
        for name in operands & self.constants.keys():
            if uses_external_data(self.constants[name]):
                raise RunError(f"`{name}`, which moves ids, is in external data")
            known[name] = numpy_helper.to_array(self.constants[name])
        shapes = {name: list(self.constants[name].dims) for name in indexed & self.constants.keys()}

        probe = onnx.ModelProto()
        probe.CopyFrom(self.model)
        fetched = sorted(operands - known.keys())
        shaped = {name: f"{name}.shape" for name in sorted(indexed - self.constants.keys())}
        probe.graph.node.extend(onnx.helper.make_node("Shape", [name], [shape]) for name, shape in shaped.items())
        present = {output.name for output in probe.graph.output}
        wanted = [name for name in (*fetched, *shaped.values()) if name not in present]
        probe.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
        values = self.source.runner(self.source.variant(probe))(self.plain)
        known |= {name: values[name] for name in fetched}
        return known, shapes | {name: values[shape].tolist() for name, shape in shaped.items()}

    def _mover(
        self, moves: list[NodeProto], wanted: set[str], flow: Flow, known: Mapping[str, Array]
    ) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """A function from the inputs to the tensors in `wanted`: the moves, with all other operands constant."""
        graph = onnx.helper.make_graph([], "moves", [], [])
        constants = {name: known[name] for node in moves for name in {*captures(node)} - flow.carried}
        for i, node in enumerate(moves):
            copy = graph.node.add()
            copy.CopyFrom(node)
            if node.op_type in WRAPS:
                copy.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], node.output))
                continue
            for k, name in flow.fixed(node).items():
                copy.input[k] = f"{name}.fixed{i}"
                constants[copy.input[k]] = _transparent(node, known[name], flow.carried)
        outputs = sorted(wanted - self.inputs.keys())
        used = {name for node in graph.node for name in reads(node)}
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        graph.input.extend(i for i in self.model.graph.input if i.name in used and i.name in self.inputs)
        graph.output.extend(ValueInfoProto(name=name) for name in outputs)
        if not outputs:
            return lambda feeds: {name: feeds[name] for name in wanted}
        model = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        run = self.source.runner(self.source.variant(model))
        fed = [each.name for each in graph.input]

        def move(feeds: Mapping[str, Array]) -> dict[str, Array]:
            return run({name: feeds[name] for name in fed}) | {name: feeds[name] for name in wanted & feeds.keys()}

        return move


def _arrival(use: Use, at_zero: Array, at_tags: Array, count: int) -> Arrival:
    start, end = (np.nan_to_num(np.rint(at)).astype(np.int64) for at in (at_zero, at_tags))
    element = end - start - TAG
    return Arrival(use, start, element, (element >= 0) & (element < count))


def _filled(each: Input, sizes: Mapping[str, int], value: int) -> Array:
    return np.full(each.shape(sizes), *((str(value), object) if each.dtype.kind == "U" else (value, each.dtype)))


def _transparent(node: NodeProto, value: Array, carried: set[str]) -> Array:
    """The fixed operand of a Mul or Where, changed so that every id passes.

    A mask that is multiplied has 1 in place of 0, and the condition of a Where selects the ids.
    """
    if node.op_type == "Mul":
        return np.where(value == 0, np.ones_like(value), value)
    if node.op_type == "Where" and value.dtype == np.bool_ and (node.input[1] in carried) != (node.input[2] in carried):
        return np.full_like(value, node.input[1] in carried)
    return value
