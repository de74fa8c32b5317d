"""Writing: what was chosen becomes ONNX nodes, each once, grafted onto the original document.

Only what the graph's outputs need is written. A node on the same inputs as before is the original, byte for byte;
inputs, outputs, metadata, functions and doc strings are the original's. Only standard operators of the model's own
opset are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.axes import extents
from mari_onnx.cost import inputs_of, reachable
from mari_onnx.extent import ROW, Extent, Poly, divide, symbols
from mari_onnx.forms import Value
from mari_onnx.graph import new_node, renamed_node
from mari_onnx.interpret import Program
from mari_onnx.layout import plain
from mari_onnx.model import Model
from mari_onnx.tensors import Node, Tensor, fold

AXES_ARE_INPUTS = {"ReduceSum": 13, "ReduceMean": 18, "ReduceSumSquare": 18}
"""The opset from which a reduction takes its axes as an input."""


MATRIX, ATTENDED = range(3), range(3, 5)
"""The dimensions of tensors whose shapes are written down: of all, and of what Attention reads."""


@dataclass
class Emission:
    """The nodes that are needed, in order, and what was written for them.

    `arithmetic` are those of the nodes that compute shapes or give something its name. Constants are folded last:
    whoever only wants to know what would be written has no use for them. An Identity keeps the nodes that are `apart`
    from what they read.
    """

    program: Program
    model: Model
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[Tensor | onnx.TensorProto] = field(default_factory=list)
    arithmetic: list[onnx.NodeProto] = field(default_factory=list)
    infos: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)
    names: dict[Tensor, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    extents: dict[object, str] = field(default_factory=dict)
    apart: set[Node] = field(default_factory=set)


def needed(program: Program, outputs: Sequence[Tensor]) -> list[Node]:
    """The nodes behind the outputs and behind the shapes that have to be written, in the order they were made.

    That is, but for a node whose input was chosen later (see `choose`): it waits for it.
    """
    roots = list(outputs)
    while True:
        nodes = reachable(roots)
        wanted = {s for node in nodes for extent in _written_extents(node) for s in symbols(extent)}
        providers = [program.providers[s][0] for s in sorted(wanted) if s in program.providers]
        missing = {t.node for t in providers} - set(nodes)
        if not missing:
            return _in_order(nodes)
        roots.extend(providers)


def _in_order(nodes: Sequence[Node]) -> list[Node]:
    """Inputs before users, and otherwise in the order of the serials."""
    known = set(nodes)
    waits = {node: {t.node for t in inputs_of(node)} & known for node in nodes}
    users: dict[Node, list[Node]] = {}
    for node, needs in waits.items():
        for need in needs:
            users.setdefault(need, []).append(node)
    ready = [(node.serial, node) for node, needs in waits.items() if not needs]
    heapify(ready)
    order: list[Node] = []
    while ready:
        _, node = heappop(ready)
        order.append(node)
        for user in users.get(node, ()):
            waits[user].discard(node)
            if not waits[user]:
                heappush(ready, (user.serial, user))
    assert len(order) == len(nodes), "a node needs itself"
    return order


def _written_extents(node: Node) -> list[Extent]:
    if node.op_type == "<extents>":
        return [e for e in node.payload.flat if isinstance(e, Poly)]
    if node.proto is not None or node.op_type not in ("Expand", "Reshape"):
        return []
    unknown: list[Extent] = [e for e in node.attribute("shape") if isinstance(e, Poly)]
    return [] if node.op_type == "Reshape" and len(unknown) == 1 else unknown  # which is -1


def planned(program: Program, model: Model) -> tuple[list[Node], list[onnx.NodeProto]]:
    """What `emit` would write: the nodes that compute, and the shape arithmetic beside them."""
    emission, nodes = _write_nodes(program, model)
    return [node for node in nodes if not (node.is_source or node.outputs[0].constant)], emission.arithmetic


@dataclass(frozen=True)
class Written:
    """The model, and what is known of its tensors: their expressions by name; the extents are integers of shape [1]."""

    model: onnx.ModelProto
    tensors: dict[str, Tensor]
    extents: frozenset[str]


def results(program: Program) -> list[Tensor]:
    """The tensors that are the program's outputs."""
    b = program.context.b
    return [b.resolve(plain(b, value)) for value in program.outputs]


def emit(program: Program, model: Model) -> onnx.ModelProto:
    """The model that computes the chosen forms of the program's outputs."""
    return write(program, model).model


def write(program: Program, model: Model) -> Written:
    """The same, with what was known about each tensor."""
    emission, _ = _write_nodes(program, model)
    tensors = {name: tensor for tensor, name in emission.names.items() if name}
    return Written(_graft(emission), tensors, _single_extents(emission))


def _write_nodes(program: Program, model: Model) -> tuple[Emission, list[Node]]:
    emission = Emission(program, model, taken=set(model.names))
    outputs = results(program)
    nodes = needed(program, outputs)
    _name(emission, nodes, outputs)
    emission.apart = _transposed_outputs(emission, nodes)
    for node in nodes:
        _write(emission, node)
    for value, tensor in zip(program.outputs, outputs, strict=True):
        if emission.names[tensor] != value.name:
            _append_ours(emission, new_node("Identity", value.name, [emission.names[tensor]], value.name))
    _label(emission)
    return emission, nodes


def _transposed_outputs(emission: Emission, nodes: Sequence[Node]) -> set[Node]:
    """Each Transpose that alone reads an output of the graph which is a product, without a bias, of another Transpose.

    onnxruntime 1.32 makes one Gemm of the three and then misses the output: the model does not load.
    """
    outputs = {value.name for value in emission.program.outputs}
    readers: dict[Tensor, list[Node]] = {}
    for node in nodes:
        for tensor in (*node.inputs, *(t for _, t in node.captures)):
            if tensor is not None:
                readers.setdefault(tensor, []).append(node)
    products = (n for n in nodes if n.op_type == "Gemm" and all(t is None for t in n.inputs[2:]))
    transposed = [n.outputs[0] for n in products if any(t and t.op_type == "Transpose" for t in n.inputs)]
    alone = [readers.get(t, []) for t in transposed if emission.names[t] in outputs]
    return {found[0] for found in alone if len(found) == 1 and found[0].op_type == "Transpose"}


# Names


def _name(emission: Emission, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> None:
    """Original names for what is what it was, names of the value that it is a form of for the rest."""
    values, names = emission.program.values, emission.names
    used: set[str] = set()
    called = [(value.name, tensor) for value, tensor in zip(emission.program.outputs, outputs, strict=True)]
    for name, tensor in called:
        named = tensor.node.is_source or tensor.stored
        if not named:
            names.setdefault(tensor, name)
        if not (named and tensor.name == name):
            used.add(name)
    inputs = {info.name for info in emission.model.graph.input}
    for name, tensor in (capture for node in nodes for capture in node.captures):
        if name not in used | inputs and tensor.name in (None, name) and _is_as_before(values.get(name), tensor):
            names.setdefault(tensor, name)
            used.add(name)
    for node in nodes:
        for tensor in node.outputs:
            wanted = tensor.name
            if tensor in names:
                continue
            original = node.proto.output[tensor.index] if node.proto is not None else None
            if original == "":
                names[tensor] = ""  # an optional output that the original leaves out
                continue
            if wanted in emission.taken:
                value = values.get(wanted)
                own = value is not None and _holds(value, tensor)
                if not own or wanted in used:
                    wanted = None if own else f"{wanted}.same"
            if wanted is None and original is not None:
                value = values.get(original)
                wanted = original if value is None or value.array.tensor is tensor else f"{original}.part"
            names[tensor] = _unique(emission, wanted or _fallback(tensor), used, tensor)
            used.add(names[tensor])


def _unique(emission: Emission, wanted: str, used: set[str], tensor: Tensor | None = None) -> str:
    """A name that nothing has yet; one of the original's only for the tensor that has it there."""
    value = emission.program.values.get(wanted)
    own = value is not None and tensor is not None and _holds(value, tensor)
    name, count = wanted, 1
    while name in used or (name in emission.taken and (name != wanted or not own)):
        count += 1
        name = f"{wanted}.{count}"
    return name


def _holds(value: Value, tensor: Tensor) -> bool:
    return any(array is not None and array.tensor is tensor for array in (value.array, value.written))


def _is_as_before(value: Value | None, tensor: Tensor) -> bool:
    """Whether a tensor that is a value has all its rows, too: a body reads those by the name that it always did."""
    computed = not (tensor.node.is_source or tensor.stored)
    return computed and value is not None and value.dims is not None and tensor.shape == extents(value.dims)


def _fallback(tensor: Tensor) -> str:
    """A name from the first named tensor below: `fc.weight.part`, `scores.expand`."""
    suffix = "part" if tensor.stored else tensor.op_type.strip("<>").lower()
    t: Tensor | None = tensor
    while t is not None and t.name is None:
        t = next((i for i in t.node.inputs if i is not None), None)
    return f"{t.name}.{suffix}" if t is not None and t.name is not None else suffix


# Nodes


def _write(emission: Emission, node: Node) -> None:
    tensor = node.outputs[0]
    name = emission.names[tensor]
    if node.op_type == "<input>":
        return
    if tensor.stored:
        _write_constant(emission, tensor, name)
        return
    if node.op_type == "<extents>":
        _write_extents(emission, tensor, name)
        return
    inputs = ["" if t is None else emission.names[t] for t in node.inputs]
    if node in emission.apart:
        inputs = [_made(emission, "Identity", inputs)]
    if node.proto is not None:
        if node.op_type == "Attention":  # of a width that an Expand or a Reshape leaves open onnx makes 0
            for t in dict.fromkeys(t for t in node.inputs if t is not None and not (t.node.is_source or t.stored)):
                _describe(emission, t, ATTENDED)
        captures = {name: emission.names[t] for name, t in node.captures if emission.names[t] != name}
        again = renamed_node(node.proto, inputs, [emission.names[t] for t in node.outputs], captures=captures)
        _append(emission, again)
    else:
        assert node.inputs[0] is not None
        _append(emission, _lowered(emission, node, inputs, name), len(node.inputs[0].known_shape))
    for t in node.outputs:
        if emission.names[t] and emission.names[t] not in emission.model.names:
            _describe(emission, t)


def _write_extents(emission: Emission, tensor: Tensor, name: str) -> None:
    content = tensor.node.payload
    flat = _shape_tensor(emission, list(content.flat), tensor.dtype, None)
    if content.ndim == 1:
        emission.names[tensor] = flat
    else:
        _append_ours(emission, new_node("Reshape", name, [flat, _integers(emission, list(content.shape))], name))


def _append_ours(emission: Emission, node: onnx.NodeProto) -> None:
    _append(emission, node, rank=1)
    emission.arithmetic.append(node)


def _append(emission: Emission, node: onnx.NodeProto, rank: int | None = None) -> None:
    """A node; the original if there is one that does just this, which has a name, documentation and metadata.

    `rank` is that of the first input of a node of our own.
    """
    original = emission.model.makers.get(tuple(node.output))
    emission.nodes.append(original if original is not None and _is(emission, original, node, rank) else node)


def _is(emission: Emission, original: onnx.NodeProto, node: onnx.NodeProto, rank: int | None) -> bool:
    """Whether they do the same: attributes of our own nodes may be left out, and axes counted from the end."""
    if original.op_type != node.op_type or list(original.input) != list(node.input):
        return False
    if original.domain != node.domain and {original.domain, node.domain} != {"", "ai.onnx"}:
        return False

    def attributes(of: onnx.NodeProto) -> dict[str, Any]:
        said: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in of.attribute}
        if rank is None:
            return said
        known = onnx.defs.get_schema(of.op_type, emission.model.opset).attributes.items()
        said = {n: helper.get_attribute_value(a.default_value) for n, a in known if a.default_value.name} | said
        if "axis" in said:
            said["axis"] %= rank
        if of.op_type == "Transpose":
            said.setdefault("perm", [*reversed(range(rank))])
        elif "axes" in said:
            after = rank + len(said["axes"]) if of.op_type == "Unsqueeze" else rank
            said["axes"] = sorted(axis % after for axis in said["axes"])
        return said

    return attributes(original) == attributes(node)


def _label(emission: Emission) -> None:
    """Runtimes want nodes to have names of their own: originals keep theirs, on other parts only the first of each."""
    makers, nodes = emission.model.makers, emission.nodes
    kept = [makers.get(tuple(node.output)) is node for node in nodes]
    used = {node.name for node, original in zip(nodes, kept, strict=True) if original}
    for i, node in enumerate(nodes):
        if kept[i] or not node.name:
            continue
        name, count = node.name, 0
        while name in used:
            count += 1
            name = node.output[0] if count == 1 else f"{node.output[0]}.{count}"
        nodes[i] = renamed_node(node, node.input, node.output, name=name)
        used.add(name)


def _lowered(emission: Emission, node: Node, inputs: list[str], name: str) -> onnx.NodeProto:
    attributes = dict(node.attributes)
    source = node.inputs[0]
    match node.op_type:
        case "Reshape":
            shape = list(attributes["shape"])
            assert source is not None
            # onnxruntime 1.32 does not survive Transpose, Reshape and MatMul of half precision; Unsqueeze it does.
            if source.dtype == TensorProto.FLOAT16 and source.op_type == "Transpose" and _adds_units(source, shape):
                return _unsqueeze(emission, shape, inputs, name)
            unknown = [i for i, e in enumerate(shape) if not isinstance(e, int)]
            if len(unknown) <= 1:
                target = [e if isinstance(e, int) else -1 for e in shape]
                return new_node("Reshape", name, [*inputs, _integers(emission, target)], name)
            if emission.model.opset >= 14:
                target_name = _shape_tensor(emission, shape, TensorProto.INT64, source)
                return new_node("Reshape", name, [*inputs, target_name], name, allowzero=1)
            return _reshape_without_zeros(emission, node, inputs, name)
        case "Expand":
            target_name = _shape_tensor(emission, list(attributes["shape"]), TensorProto.INT64, source)
            return new_node("Expand", name, [*inputs, target_name], name)
        case "Slice":
            axis, start, stop = attributes["axis"], attributes["start"], attributes["stop"]
            if emission.model.opset < 10:
                return new_node("Slice", name, inputs, name, axes=[axis], starts=[start], ends=[stop])
            bounds = [_integers(emission, [v]) for v in (start, stop, axis)]
            return new_node("Slice", name, [*inputs, *bounds], name)
        case "ReduceSum" | "ReduceMean" | "ReduceSumSquare" if emission.model.opset >= AXES_ARE_INPUTS[node.op_type]:
            axes = _integers(emission, list(attributes.pop("axes")))
            return new_node(node.op_type, name, [*inputs, axes], name, **attributes)
        case _:
            return new_node(node.op_type, name, inputs, name, **attributes)


def _adds_units(source: Tensor, shape: Sequence[Extent]) -> bool:
    return [e for e in shape if e != 1] == list(source.known_shape)


def _unsqueeze(emission: Emission, shape: Sequence[Extent], inputs: list[str], name: str) -> onnx.NodeProto:
    """To this shape, of which the source has every extent but those of 1."""
    units = [i for i, e in enumerate(shape) if e == 1]
    if emission.model.opset >= 13:
        return new_node("Unsqueeze", name, [*inputs, _integers(emission, units)], name)
    return new_node("Unsqueeze", name, inputs, name, axes=units)


def _reshape_without_zeros(emission: Emission, node: Node, inputs: list[str], name: str) -> onnx.NodeProto:
    """A Reshape to several symbols before opset 14, where a 0 stands for the source's own extent at that position.

    That is the wrong one where no candidates are left and the source has something else there: -1 says it then.
    """
    source, shape = node.inputs[0], list(node.attribute("shape"))
    assert source is not None
    have = source.known_shape
    if _adds_units(source, shape):
        return _unsqueeze(emission, shape, inputs, name)
    providers = emission.program.providers.items()
    counted = {s for s, (t, _) in providers if t.op_type == "NonZero"}  # as many as a mask selects: none, perhaps
    candidates, leading = {*emission.program.context.candidates, ROW}, set(emission.model.leading_symbols.values())
    unknown = [i for i, e in enumerate(shape) if isinstance(e, Poly)]
    likely = ([i for i in unknown if symbols(shape[i]) & names] for names in (counted, candidates, leading))
    may_be_empty = next((found for found in likely if found), unknown)
    unlike = [i for i in may_be_empty if i >= len(have) or divide(have[i], shape[i]) is None]
    if unlike == may_be_empty:
        shape[unlike[0]] = -1
    return new_node("Reshape", name, [*inputs, _shape_tensor(emission, shape, TensorProto.INT64, source)], name)


def _write_constant(emission: Emission, tensor: Tensor, name: str) -> None:
    stored = tensor.op_type == "<initializer>" and tensor.node.payload.name == name
    _initialize(emission, name, tensor.node.payload if stored else tensor)


def _folded(emission: Emission, tensor: Tensor) -> onnx.TensorProto:
    name = emission.names[tensor]
    if tensor.op_type == "<initializer>":
        return _copy(tensor.node.payload, name)
    array = fold(tensor, emission.model.array_of)
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _copy(proto: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = TensorProto()
    copy.CopyFrom(proto)
    copy.name = name
    return copy


def _initialize(emission: Emission, name: str, constant: Tensor | onnx.TensorProto) -> None:
    # Before IR version 4 an initializer had to be a graph input as well, and inputs stay as they are.
    if emission.model.proto.ir_version < 4 and name not in emission.model.initializers:
        node = emission.model.makers.get((name,))
        if node is None or node.op_type != "Constant":
            value = _folded(emission, constant) if isinstance(constant, Tensor) else constant
            node = helper.make_node("Constant", [], [name], value=value)
        emission.nodes.append(node)
    else:
        emission.initializers.append(constant)


# Shapes


def _integers(emission: Emission, values: list[int], dtype: int = TensorProto.INT64) -> str:
    key = (dtype, tuple(values))
    if key not in emission.extents:
        shown = "_".join(str(v).replace("-", "m") for v in values[:8])
        kind = "shape" if dtype == TensorProto.INT64 else "extents"
        name = _unique(emission, f"mari.{kind}_{shown}", set(emission.extents.values()))
        emission.extents[key] = name
        array = np.array(values, helper.tensor_dtype_to_np_dtype(dtype))
        _initialize(emission, name, numpy_helper.from_array(array, name))
    return emission.extents[key]


def _shape_tensor(emission: Emission, extents: list[Extent | bool], dtype: int, near: Tensor | None) -> str:
    """A 1-D tensor of these extents; symbols are read off `near` where it has them, else off a graph input."""
    if all(isinstance(e, int) for e in extents):
        return _integers(emission, [int(e) for e in extents if isinstance(e, int)], dtype)
    pieces: list[str] = []
    run: list[int] = []
    for extent in [*extents, None]:
        if isinstance(extent, int):
            run.append(extent)
            continue
        if run:
            pieces.append(_integers(emission, run))
            run = []
        if extent is not None:
            pieces.append(_extent(emission, extent, near))
    name = pieces[0] if len(pieces) == 1 else _made(emission, "Concat", pieces, axis=0)
    return name if dtype == TensorProto.INT64 else _made(emission, "Cast", [name], to=dtype)


def _extent(emission: Emission, extent: Poly, near: Tensor | None) -> str:
    if near is not None and near.shape is not None and extent in near.shape:
        tensor, axis = near, near.shape.index(extent)
        if tensor.node.op_type != "<input>" and all(s in emission.program.providers for s in symbols(extent)):
            return _polynomial(emission, extent)
        return _dimension(emission, tensor, axis)
    return _polynomial(emission, extent)


def _polynomial(emission: Emission, extent: Poly) -> str:
    total: str | None = None
    for monomial, coefficient in extent.terms:
        factors = [_dimension(emission, *emission.program.providers[s]) for s in monomial]
        if coefficient != 1 or not factors:
            factors.append(_integers(emission, [coefficient]))
        term = factors[0]
        for factor in factors[1:]:
            term = _made(emission, "Mul", [term, factor])
        total = term if total is None else _made(emission, "Add", [total, term])
    assert total is not None
    return total


def _dimension(emission: Emission, tensor: Tensor, axis: int) -> str:
    source = emission.names[tensor]
    if emission.model.opset >= 15:
        return _made(emission, "Shape", [source], start=axis, end=axis + 1)
    whole = _made(emission, "Shape", [source])
    return _made(emission, "Gather", [whole, _integers(emission, [axis])], axis=0)


def _single_extents(emission: Emission) -> frozenset[str]:
    """The names of tensors that hold one extent each."""
    kinds = {"Mul", "Add", "Gather"} | ({"Shape"} if emission.model.opset >= 15 else set())
    return frozenset(name for key, name in emission.extents.items() if isinstance(key, tuple) and key[0] in kinds)


def _made(emission: Emission, op_type: str, inputs: list[str], **attributes: int) -> str:
    """A node of shape arithmetic, once."""
    key = (op_type, tuple(inputs), tuple(sorted(attributes.items())))
    if key not in emission.extents:
        used = {*emission.extents.values(), *emission.names.values()}
        name = _unique(emission, f"mari.{op_type.lower()}_{len(emission.extents)}", used)
        emission.extents[key] = name
        _append_ours(emission, new_node(op_type, name, inputs, name, **attributes))
    return emission.extents[key]


# The document


def _describe(emission: Emission, tensor: Tensor, ranks: range = MATRIX) -> None:
    """The shapes of matrices: a product and its bias become one Gemm where they are known.

    Of more dimensions they are left out. onnxruntime takes Add and LayerNormalization of two operands whose shapes it
    can prove equal for SkipLayerNormalization, which on CPU takes several times as long as the two (BST: 1.4 times the
    model).
    """
    if tensor.shape is None or not tensor.dtype or len(tensor.shape) not in ranks:
        return
    known = emission.model.input_symbols
    shape = [e if isinstance(e, int) else str(e) if str(e) in known else None for e in tensor.shape]
    name = emission.names[tensor]
    emission.infos[name] = helper.make_tensor_value_info(name, tensor.dtype, shape)


def _graft(emission: Emission) -> onnx.ModelProto:
    """The original document with these nodes and initializers in place of its own."""
    source = emission.model.proto
    out = onnx.ModelProto()
    for descriptor, content in source.ListFields():
        if descriptor.name != "graph":
            _set(out, descriptor.name, content)
    for descriptor, content in source.graph.ListFields():
        if descriptor.name not in ("node", "initializer", "value_info"):
            _set(out.graph, descriptor.name, content)
    out.graph.node.extend(emission.nodes)
    # An input's default and what a body reads stay, whoever needs them.
    inputs = {i.name for i in source.graph.input}
    initializers = [_folded(emission, t) if isinstance(t, Tensor) else t for t in emission.initializers]
    written = {t.name for t in initializers}
    kept = [t for t in source.graph.initializer if t.name in inputs and t.name not in written]
    out.graph.initializer.extend([*initializers, *kept])
    produced = {o for n in emission.nodes for o in n.output} | {t.name for t in out.graph.initializer}
    told = [v for v in source.graph.value_info if v.name in produced and _is_told(emission, v.name)]
    ours = emission.infos.keys() - {v.name for v in (*told, *source.graph.output)}
    out.graph.value_info.extend([*told, *(info for name, info in emission.infos.items() if name in ours)])
    emission.program.signature.apply(out.graph)
    return out


def _is_told(emission: Emission, name: str) -> bool:
    """Whether what the exporter said of a name is true of what has it now: forms of that value have other shapes."""
    value = emission.program.values.get(name)
    if value is None or value.dims is None:
        return True
    here = [tensor for tensor in (value.array.tensor, value.written and value.written.tensor) if tensor]
    return all(t.shape == extents(value.dims) for t in here if emission.names.get(t) == name)


def _set(message: onnx.ModelProto | onnx.GraphProto, name: str, content: object) -> None:
    field_ = getattr(message, name)
    if hasattr(field_, "extend"):
        field_.extend(content)
    elif hasattr(field_, "CopyFrom"):
        field_.CopyFrom(content)
    else:
        setattr(message, name, content)
