"""What was made of a model, as one model that is called like the original.

A result that is called otherwise, or that consists of several models, is compared with the original by what stands
here: the original's inputs, a few nodes that make of them what each part is sent, and the parts. Everything that can be
asked of a model that kept its signature (in float64 too) can be asked of that.

    one row              x[0:1], or zeros where there are no candidates
    several requests     one request a candidate, in reverse order, and one more that no candidate has;
                         by an index that the original has too, the first row of each entry of the index
    `mari_guard`         outputs are NaN where it is false
    user and item model  each of its outputs goes to the ranking model's input of that name
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.document.document import Document
from mari_onnx.document.external import external_tensors
from mari_onnx.document.graph_view import all_names, bodies, shape_of
from mari_onnx.document.provenance import WHOLE, Origin, read, stamp
from mari_onnx.errors import UserError
from mari_onnx.serving.modes import GUARD_OUTPUT, INDEX_INPUT

Infos = Mapping[str, onnx.ValueInfoProto]

INT64 = TensorProto.INT64


def together(reference: Document, parts: Sequence[Document], request_index: str | None = None) -> Document:
    """The parts as one model with the reference's inputs; the last part is the one that answers.

    A single part that is called as the reference is comes back as it is, and so does one that cannot be: what is wrong
    with it is for the comparison to say. Raises UserError for parts that lie apart from their external data.
    """
    inputs = _inputs(reference.proto)
    several = request_index is not None or any(INDEX_INPUT in _inputs(p.proto).keys() - inputs.keys() for p in parts)
    if len(parts) == 1 and not several and not _differs(inputs, parts[0].proto):
        return parts[0]
    folders = {part.base_dir for part in parts if any(True for _ in external_tensors(part.proto))}
    if len(folders) > 1:
        raise UserError("the models lie in several folders, each with external data", "put them into one folder")
    whole = _Whole(inputs, request_index, several)
    for i, part in enumerate(parts):
        whole.add(part.proto, "" if i == len(parts) - 1 else f"part{i}/")
    model = whole.model(parts[-1].proto)
    return Document(None, model, folders.pop() if folders else parts[-1].base_dir, parts[-1].bytes)


def _inputs(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    stored = {t.name for t in model.graph.initializer}
    return {i.name: i for i in model.graph.input if i.name not in stored}


def _differs(inputs: Infos, model: onnx.ModelProto) -> bool:
    own = _inputs(model)
    one_row = any(_leading(own[n]) == 1 != _leading(i) for n, i in inputs.items() if n in own)
    return one_row or any(o.name == GUARD_OUTPUT for o in model.graph.output)


def _leading(info: onnx.ValueInfoProto) -> int | str | None:
    shape = shape_of(info)
    return shape[0] if shape else None


@dataclass
class _Whole:
    """The model that is being put together; `made` are the outputs of earlier parts by their names there.

    `origins` are those of all parts' tensors by the names that these have here. A tensor of an earlier part that has no
    origin there is the original's, and has another name here only because of the prefix.
    `several` says that a part takes a row for each of several requests.
    """

    inputs: Infos
    request_index: str | None
    several: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    sparse: list[onnx.SparseTensorProto] = field(default_factory=list)
    functions: dict[tuple[str, str, str], onnx.FunctionProto] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def add(self, model: onnx.ModelProto, prefix: str) -> None:
        """A part, with each of its inputs fed. All of its names get the prefix, the inputs' names always one."""
        graph = onnx.GraphProto()
        graph.CopyFrom(model.graph)
        self.outputs = list(model.graph.output)
        sent = {name: f"{prefix or 'sent/'}{name}" for name in _inputs(model)}
        guard = [o.name for o in graph.output if o.name == GUARD_OUTPUT]
        answers = {o.name: f"unguarded/{o.name}" for o in graph.output if guard and not prefix}
        names = {name: f"{prefix}{name}" for name in all_names(graph)} if prefix else {}
        _rename(graph, {**names, **sent, **answers})
        for node in graph.node if prefix else ():
            node.name = ""  # the other parts may have one of that name
        for name in sent:
            self._feed(name, _inputs(model)[name], sent[name])
        self.nodes.extend(graph.node)
        self.initializers.update((t.name, t) for t in graph.initializer)
        self.sparse.extend(graph.sparse_initializer)
        self.functions.update(((f.domain, f.name, f.overload), f) for f in model.functions)
        if answers:
            self._fold(answers)
        self.made.update((o.name, names.get(o.name, o.name)) for o in model.graph.output)
        of_original = {name: Origin(name, WHOLE, "") for name in names}
        called = {**names, **sent, **answers}
        self.origins.update((called.get(n, n), o) for n, o in (of_original | read(model)).items())

    def model(self, like: onnx.ModelProto) -> onnx.ModelProto:
        """Everything that was added, with the reference's inputs and the last part's outputs."""
        out = onnx.ModelProto(ir_version=like.ir_version, producer_name=like.producer_name)
        out.opset_import.extend(like.opset_import)
        out.functions.extend(self.functions.values())
        out.graph.name = "together"
        out.graph.input.extend(self.inputs.values())
        out.graph.output.extend(o for o in self.outputs if o.name != GUARD_OUTPUT)
        out.graph.initializer.extend(self.initializers.values())
        out.graph.sparse_initializer.extend(self.sparse)
        out.graph.node.extend(self.nodes)
        stamp(out, self.origins)
        return out

    # What the parts are sent

    def _feed(self, name: str, info: onnx.ValueInfoProto, to: str) -> None:
        if name in self.made:
            self._node("Identity", [self.made[name]], to)
        elif name not in self.inputs:
            if name == INDEX_INPUT and self.request_index is None:
                self._count_down(to)
            else:
                self.inputs = {**self.inputs, name: info}  # the comparison will say that the reference lacks it
        elif _leading(info) == 1 != _leading(self.inputs[name]):
            self._one_row(name, to)
        elif self.several and isinstance(_leading(info), str) and _leading(info) != _leading(self.inputs[name]):
            self._rows(name, to)
        else:
            self._node("Identity", [name], to)

    def _one_row(self, name: str, to: str) -> None:
        source = name
        if self.inputs[name].type.tensor_type.elem_type != TensorProto.STRING:
            shape = self._node("Shape", [name], f"{to}.shape")
            tail = self._slice(shape, 1, 2**62, f"{to}.tail")
            target = self._node("Concat", [self._ints("one", [1]), tail], f"{to}.row", axis=0)
            dtype = self.inputs[name].type.tensor_type.elem_type
            zero = helper.make_tensor("value", dtype, [1], [0])
            zeros = self._node("ConstantOfShape", [target], f"{to}.zeros", value=zero)
            source = self._node("Concat", [name, zeros], f"{to}.and_zeros", axis=0)
        self._slice(source, 0, 1, to)

    def _rows(self, name: str, to: str) -> None:
        """A row for each request."""
        if self.request_index is None:
            backwards = self._node(
                "Slice", [name, *(self._ints(f"down{i}", [i]) for i in (-1, -(2**62), 0)), self._ints("down-1", [-1])],
                f"{to}.backwards",
            )  # fmt: skip
            self._node("Concat", [backwards, backwards], to, axis=0)
        else:
            self._node("Gather", [name, self._positions(self.request_index)], to, axis=0)

    def _positions(self, index: str) -> str:
        """For each number that may stand in the index, a candidate that has it."""
        name = f"{index}.positions"
        if not any(name in node.output for node in self.nodes):
            flat = self._node("Cast", [self._node("Reshape", [index, self._ints("flat", [-1])], f"{name}.flat")],
                              f"{name}.int64", to=INT64)  # fmt: skip
            padded = self._node("Concat", [flat, self._ints("none", [0])], f"{name}.padded", axis=0)
            largest = self._node("ReduceMax", [padded], f"{name}.largest", keepdims=0)
            count = self._node("Add", [largest, self._ints("one", [1])], f"{name}.count")
            zeros = self._node(
                "ConstantOfShape", [count], f"{name}.zeros", value=numpy_helper.from_array(np.zeros(1, np.int64))
            )
            own = self._range(flat, f"{name}.own")
            self._node("ScatterElements", [zeros, flat, own], name, axis=0)
        return name

    def _count_down(self, to: str) -> None:
        """Candidate b has the b-th row from behind, of as many as there are candidates."""
        some = next(name for name, info in self.inputs.items() if isinstance(_leading(info), str))
        up = self._range(some, f"{to}.up")
        count = self._slice(self._node("Shape", [some], f"{to}.all"), 0, 1, f"{to}.count")
        last = self._node("Sub", [count, self._ints("one", [1])], f"{to}.last")
        self._node("Sub", [last, up], to)

    def _range(self, rows: str, to: str) -> str:
        count = self._slice(self._node("Shape", [rows], f"{to}.shape"), 0, 1, f"{to}.rows")
        scalar = self._node("Reshape", [count, self._ints("scalar", [])], f"{to}.scalar")
        return self._node("Range", [self._int("zero", 0), scalar, self._int("step", 1)], to)

    def _fold(self, answers: Mapping[str, str]) -> None:
        """The outputs of a guarded model, NaN where its guard is false."""
        for info in self.outputs:
            name, dtype = info.name, info.type.tensor_type.elem_type
            if name == GUARD_OUTPUT:
                continue
            if dtype not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
                self._node("Identity", [answers[name]], name)
                continue
            kind = helper.tensor_dtype_to_np_dtype(dtype)
            for word, number in (("right", 1), ("wrong", np.nan)):
                constant = numpy_helper.from_array(np.array([number], kind), f"{name}.{word}")
                self.initializers[constant.name] = constant
            factor = self._node("Where", [answers[GUARD_OUTPUT], f"{name}.right", f"{name}.wrong"], f"{name}.factor")
            self._node("Mul", [answers[name], factor], name)

    # Writing

    def _node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def _slice(self, source: str, start: int, stop: int, output: str) -> str:
        bounds = [self._ints(f"at{i}", [i]) for i in (start, stop, 0)]
        return self._node("Slice", [source, *bounds], output)

    def _ints(self, name: str, values: list[int]) -> str:
        constant = numpy_helper.from_array(np.array(values, np.int64), f"together.{name}")
        self.initializers[constant.name] = constant
        return constant.name

    def _int(self, name: str, value: int) -> str:
        constant = numpy_helper.from_array(np.array(value, np.int64), f"together.{name}")
        self.initializers[constant.name] = constant
        return constant.name


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Call tensors otherwise, also where bodies read them."""
    tensors = [t.values for t in graph.sparse_initializer]
    for named in (*graph.input, *graph.output, *graph.initializer, *tensors, *graph.value_info):
        named.name = names.get(named.name, named.name)
    for node in graph.node:
        for field_ in (node.input, node.output):
            field_[:] = [names.get(name, name) for name in field_]
        for body in bodies(node):
            _rename(body, names)
