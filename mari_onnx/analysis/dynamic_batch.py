"""A batch that was fixed at export, made dynamic.

    user [200, 20], item [200, 8]      every input has the leading extent 200, so that no axis counts candidates
    user [batch, 20], item [batch, 8]  what `--dynamic-batch` makes of it

The graph holds the number too, where the exporter computed a shape. Each place is found by interpreting the graph with
a symbol for the batch, and written so that it holds for any number:

    Reshape(x, [200, 4, 8])            Reshape(x, [-1, 4, 8])
    Reshape(x, [4000, 16])             Reshape(x, [-1, 16])
    Expand(x, [200, 8])                the 200 is a 1 where x has the candidates; else it is computed from an input
    Tile(x, [200, 1])                  computed from an input
    Slice(x, 0, 200)                   up to the end
    zeros [200, 8] beside candidates   one row of them, if all rows are alike

A number that stands for the batch by chance is told from one that does by what the shapes have to be; the result is run
beside the original, and with fewer candidates (see `verification.fewer_candidates`).

Raises UserError where a place is not understood: a constant that holds another row for each candidate, say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.premises import NOTHING
from mari_onnx.document.document import Document
from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.document.scopes import all_names, reads
from mari_onnx.errors import UserError
from mari_onnx.ir.axes import extents
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import Extent, product, symbol, symbols
from mari_onnx.ir.forms import Value
from mari_onnx.ir.operators import OPERATORS

AnyArray: TypeAlias = npt.NDArray[Any]

NAME = "batch"
"""The symbol of the candidates, with a suffix where the model has it for something else."""

TO_THE_END = 2**63 - 1
PASSES = 200
"""How often the graph is interpreted at most; each time at least one place is found."""

STATES = (5, 6)
"""The positions of the states that a recurrent cell starts with."""

EXPORT = "export the model with a dynamic batch axis"


def fixed_batch(model: Model) -> int | None:
    """The leading extent that all inputs have, fixed at export; None where there is none, and where it is 1.

    Inputs of one row beside it are the user's.
    """
    shapes = [shape_of(info) for info in model.inputs]
    leading = [shape[0] for shape in shapes if shape]
    numbers = {e for e in leading if isinstance(e, int) and e > 1}
    return numbers.pop() if len(numbers) == 1 and all(isinstance(e, int) for e in leading) else None


def with_dynamic_batch(document: Document) -> tuple[Document, int]:
    """The document with a symbol for the batch that was fixed at export, and the number that it was fixed at.

    Raises UserError where the inputs do not have one leading extent, and where the graph does not allow another number.
    """
    model = Model(document)
    batch = fixed_batch(model)
    if batch is None:
        shown = ", ".join(f"`{info.name}` {_shown(info)}" for info in model.inputs[:6])
        raise UserError(
            f"no number of candidates is fixed in the leading extents of the inputs: {shown}",
            "leave --dynamic-batch out: it is for inputs that all have one fixed leading extent above 1, such as 200",
        )
    proto = onnx.ModelProto()
    proto.CopyFrom(document.repaired)
    edit = _Edit(proto, batch, _unused(model))
    edit.declare(model)
    for _ in range(PASSES):
        document = document.with_proto(proto)
        if not edit.one_pass(Model(document)):
            break
    edit.declare_outputs(interpret(Model(document), NOTHING, CostModel(batch)))
    return document.with_proto(proto), batch


def _shown(info: onnx.ValueInfoProto) -> str:
    return "[" + ", ".join("?" if e is None else str(e) for e in shape_of(info) or ()) + "]"


def _unused(model: Model) -> str:
    taken, name = {*model.input_symbols, *model.output_symbols}, NAME
    while name in taken:
        name += "_"
    return name


@dataclass
class _Edit:
    """The model while it is changed, in place. `name` is the symbol of the batch, which was `batch`."""

    proto: onnx.ModelProto
    batch: int
    name: str
    source: str = ""
    made: dict[str, str] = field(default_factory=dict)

    def declare(self, model: Model) -> None:
        """Give the inputs the symbol, and forget the shapes that were inferred from the number."""
        self.model = model
        graph = self.proto.graph
        for info in graph.input:
            shape = shape_of(info)
            if shape and shape[0] == self.batch and info.name not in model.initializers:
                info.type.tensor_type.shape.dim[0].dim_param = self.name
                self.source = self.source or info.name
        del graph.value_info[:]
        for info in graph.output:
            info.type.tensor_type.ClearField("shape")
        self.taken = {*all_names(graph), *(info.name for info in graph.output)}

    def declare_outputs(self, program: Program) -> None:
        """Give the outputs the shapes that they have now."""
        for info in self.proto.graph.output:
            dims = program.values[info.name].dims
            if dims is None:
                continue
            shape = info.type.tensor_type.shape
            shape.SetInParent()
            for extent in extents(dims):
                dim = shape.dim.add()
                if isinstance(extent, int):
                    dim.dim_value = extent
                elif extent == symbol(self.name):
                    dim.dim_param = self.name

    def one_pass(self, model: Model) -> bool:
        """Whether a place was found that holds the number. What is computed from it is left to the next pass."""
        self.model = model
        values = interpret(model, NOTHING, CostModel(self.batch)).values
        stale: set[str] = set()
        for node in list(self.proto.graph.node):
            if not stale.isdisjoint(reads(node)) or self._fixed(node, values):
                stale.update(node.output)
        return bool(stale)

    def _fixed(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """Whether the node held the number, and holds for any number now."""
        if node.domain not in ("", "ai.onnx") or not all(name in values for name in node.input if name):
            return False
        if (fix := FIXES.get(node.op_type)) is not None:
            return fix(self, node, values)
        traits = OPERATORS.get(node.op_type)
        return traits is not None and traits.elementwise and self.constants(node, values)

    # What the fixes need

    def counts(self, extent: Extent) -> bool:
        """Whether an extent depends on the batch."""
        return self.name in symbols(extent)

    def integers(self, values: Mapping[str, Value], name: str) -> list[int] | None:
        """The elements of a vector that is the same in every call."""
        content = values[name].content if name in values else None
        if content is None or content.ndim != 1 or not all(type(e) is int for e in content.flat):
            return None
        return [int(e) for e in content.flat]

    def stored(self, array: AnyArray, like: str) -> str:
        """The name of a new constant, called after the one that it replaces."""
        name = self.fresh(f"{like}.{self.name}")
        self.proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def computed(self, shape: Sequence[int], position: int, node: onnx.NodeProto) -> str:
        """A shape with the number of candidates at one position, computed from an input before a node."""
        graph = self.proto.graph
        if "count" not in self.made:
            zero = self.stored(np.array([0], np.int64), "first")
            shape_name, count = self.fresh(f"{self.source}.shape"), self.fresh(f"{self.source}.{self.name}")
            nodes = [
                helper.make_node("Shape", [self.source], [shape_name]),
                helper.make_node("Gather", [shape_name, zero], [count]),
            ]
            self.made["count"] = count
            rest = list(graph.node)
            del graph.node[:]
            graph.node.extend([*nodes, *rest])
        pieces = [self.made["count"]]
        for piece, where in ((shape[:position], 0), (shape[position + 1 :], 1)):
            if piece:
                pieces.insert(len(pieces) * where, self.stored(np.array(piece, np.int64), f"{node.output[0]}.extents"))
        name = self.fresh(f"{node.output[0]}.shape")
        graph.node.insert(self._place(node), helper.make_node("Concat", pieces, [name], axis=0))
        return name

    def _place(self, node: onnx.NodeProto) -> int:
        """Where a node stands, before which another may be inserted."""
        return next(i for i, each in enumerate(self.proto.graph.node) if list(each.output) == list(node.output))

    def refuse(self, node: onnx.NodeProto, why: str) -> UserError:
        return UserError(f"the batch cannot be made dynamic: `{node.output[0]}` ({node.op_type}) {why}", EXPORT)

    # Places

    def reshape(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """A Reshape to a shape with the number, or a multiple of it: that extent is inferred."""
        dims, target = values[node.input[0]].dims, self.integers(values, node.input[1])
        if dims is None or target is None or not self.counts(product(extents(dims))):
            return False
        before = [e if isinstance(e, int) else self._number(e) for e in extents(dims)]
        allow_zero = any(a.name == "allowzero" and a.i for a in node.attribute)
        shape = [before[i] if e == 0 and not allow_zero else e for i, e in enumerate(target)]
        size, known = int(np.prod(before)), int(np.prod([e for e in shape if e != -1]))
        shape = [size // known if e == -1 and known else e for e in shape]
        if int(np.prod(shape)) != size:
            return False  # it does not fit any more, or does not yet
        places = [i for i, e in enumerate(shape) if e and e % self.batch == 0]
        if not places:
            raise self.refuse(node, f"has the shape {target}, in which no extent is a multiple of {self.batch}")
        place = places[0]
        if target.count(-1) == 1 and target[place] == -1:
            return False
        node.input[1] = self.stored(
            np.array([-1 if i == place else e for i, e in enumerate(shape)], np.int64), node.input[1]
        )
        return True

    def _number(self, extent: Extent) -> int:
        """An extent at the number that the batch was fixed at."""
        if isinstance(extent, int):
            return extent
        return sum(c * int(np.prod([self.batch if s == self.name else 1 for s in m])) for m, c in extent.terms)

    def expand(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """An Expand to a shape with the number: 1 where the candidates are there already, else their number."""
        dims, target = values[node.input[0]].dims, self.integers(values, node.input[1])
        if dims is None or target is None:
            return self._expanded_constant(node, values)
        have = [1] * (len(target) - len(dims)) + [*extents(dims)]
        offset = len(have) - len(target)
        there = [i for i, e in enumerate(target) if e == self.batch and self.counts(have[i + offset])]
        if there:
            node.input[1] = self.stored(np.array([1 if i in there else e for i, e in enumerate(target)]), node.input[1])
            return True
        missing = [i for i, e in enumerate(target) if e == self.batch and have[i + offset] == 1]
        if not missing:
            return False
        node.input[1] = self.computed(target, missing[0], node)
        return True

    def _expanded_constant(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """A constant of as many rows as the number, expanded to a shape that is computed: one of them."""
        target = values[node.input[1]].content
        counted = [] if target is None else [i - target.size for i, e in enumerate(target.flat) if self.counts(e or 0)]
        places = [place for place in self._rows(node.input[0], values) if place in counted]
        if not places:
            return False
        node.input[0] = self.stored(self._one_row(node, node.input[0], places[0]), node.input[0])
        return True

    def tile(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """A Tile of one row to the number."""
        dims, repeats = values[node.input[0]].dims, self.integers(values, node.input[1])
        if dims is None or repeats is None:
            return False
        places = [i for i, e in enumerate(repeats) if e == self.batch and extents(dims)[i] == 1]
        if not places:
            return False
        node.input[1] = self.computed(repeats, places[0], node)
        return True

    def constant_of_shape(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """A tensor of one number, with an extent that is the batch."""
        shape = self.integers(values, node.input[0])
        if shape is None or self.batch not in shape:
            return False
        node.input[0] = self.computed(shape, shape.index(self.batch), node)
        return True

    def slice_(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """A Slice up to the number, along the batch: up to the end."""
        dims = values[node.input[0]].dims
        ends = self.integers(values, node.input[2]) if len(node.input) > 2 else None
        if dims is None or ends is None:
            return False
        axes = self.integers(values, node.input[3]) if len(node.input) > 3 and node.input[3] else list(range(len(ends)))
        if axes is None:
            return False
        reaches = [e == self.batch and extents(dims)[a] == symbol(self.name) for a, e in zip(axes, ends, strict=True)]
        if not any(reaches):
            return False
        new = [TO_THE_END if whole else e for whole, e in zip(reaches, ends, strict=True)]
        node.input[2] = self.stored(np.array(new, np.int64), node.input[2])
        return True

    def constants(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """A constant with a row for each candidate beside the candidates: one row, where all are alike."""
        changed, counted = False, self._counted(node, values)
        for position, name in enumerate(node.input):
            places = [place for place in self._rows(name, values) if place in counted]
            if places:
                node.input[position] = self.stored(self._one_row(node, name, places[0]), name)
                changed = True
        return changed

    def _counted(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> set[int]:
        """The positions, from the right, at which an operand has the candidates."""
        known = [dims for name in node.input if name and (dims := values[name].dims) is not None]
        return {i - len(dims) for dims in known for i, e in enumerate(extents(dims)) if self.counts(e)}

    def _rows(self, name: str, values: Mapping[str, Value]) -> list[int]:
        """The positions, from the right, at which a constant has as many rows as the batch; none for what is none."""
        value = values.get(name)
        if value is None or not value.constant or value.dims is None:
            return []
        return [i - len(value.dims) for i, e in enumerate(extents(value.dims)) if e == self.batch]

    def _one_row(self, node: onnx.NodeProto, name: str, place: int) -> AnyArray:
        """One of the rows of a constant, where all are alike; raises UserError where they are not."""
        array = self._array(name)
        if array is not None:
            first = np.take(array, [0], place)
            if (array == first).all():
                return first
        raise self.refuse(node, f"reads the constant `{name}`, which has a row of its own for each candidate")

    def repeated(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
        """A constant with a row for each candidate, for operators that do not broadcast: one row, expanded."""
        changed, counted = False, self._counted(node, values)
        for position, name in enumerate(node.input):
            places = [place for place in self._rows(name, values) if place in counted]
            if node.op_type != "Concat":  # the state of a recurrent cell, [1, batch, hidden]
                places = [-2] if position in STATES and -2 in self._rows(name, values) else []
            if not places:
                continue
            row = self._one_row(node, name, places[0])
            shape = [self.batch if i - row.ndim == places[0] else e for i, e in enumerate(row.shape)]
            expanded = self.fresh(f"{name}.{self.name}")
            target = self.computed(shape, row.ndim + places[0], node)
            here = helper.make_node("Expand", [self.stored(row, name), target], [expanded])
            self.proto.graph.node.insert(self._place(node), here)
            node.input[position] = expanded
            changed = True
        return changed

    def _array(self, name: str) -> AnyArray | None:
        tensor = self.model.initializers.get(name)
        if tensor is None and (node := self.model.producers.get(name)) is not None and node.op_type == "Constant":
            tensor = self.model.constant(node)
        return None if tensor is None else self.model.array_of(tensor)


Fix = Callable[[_Edit, onnx.NodeProto, Mapping[str, Value]], bool]

FIXES: Mapping[str, Fix] = {
    "Reshape": _Edit.reshape,
    "Expand": _Edit.expand,
    "Tile": _Edit.tile,
    "ConstantOfShape": _Edit.constant_of_shape,
    "Slice": _Edit.slice_,
    **dict.fromkeys(("Concat", "GRU", "LSTM", "RNN"), _Edit.repeated),
}
"""What makes a node hold for any number of candidates, by operator; it says whether it changed something."""
