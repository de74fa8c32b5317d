"""Damage to model files, drawn at random: to their bytes, and to their graphs.

Damage to bytes gives what a broken copy gives: a file cut short, bits turned over, a part that is missing or there
twice, two files mixed. Damage to a graph parses, and breaks a rule of ONNX, or an expectation that a reader of models
may have without knowing: a cycle, an extent of -1, a name that no node gives, an attribute of another type, a tensor
with fewer bytes than its shape needs.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterator
from random import Random

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, helper

from mari_onnx.document.external import external_tensors

INTEGERS = (0, 1, -1, 2, 3, 7, -2, 64, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63))
"""Numbers at the edges of what is expected, as attributes, extents and versions."""

FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, float("inf"), float("nan"))

NAMES = ("", " ", "x", "../x", "/x/y", "x\ny", "Ünï¢øde", "a" * 3000, "[x]", "*", "%s{0}", "user", "mari.x", "x.user")
"""Names of tensors and symbols that are legal and unusual."""

TYPES = (*TensorProto.DataType.values(), 99)

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "local", "acme")

LOCATIONS = ("", ".", "..", "../model.data", "/etc/hostname", "model.onnx", "model.data", "nowhere", "a/../model.data")

DEEP = 30
"""Bodies within bodies, of which protobuf reads a hundred messages within each other: these are just few enough."""


# Bytes


def damaged_bytes(random: Random, data: bytes, other: bytes) -> bytes:
    """A file with one to three kinds of damage; `other` is a file that it may be mixed with."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(BYTES)(random, data, other)
    return data


def _place(random: Random, data: bytes) -> int:
    """Somewhere in a file; in two of three cases near an end, where the structure is and not the weights."""
    edge = min(len(data), 6000)
    within = random.choice((range(edge), range(len(data) - edge, len(data)), range(len(data))))
    return random.choice(within) if within else 0


def _cut(random: Random, data: bytes, _: bytes) -> bytes:
    return data[: _place(random, data)]


def _flip(random: Random, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _bit in range(random.choice((1, 1, 2, 5, 30)) if data else 0):
        changed[_place(random, data)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _set(random: Random, data: bytes, _: bytes) -> bytes:
    at = _place(random, data)
    new = random.choice((b"\0", b"\xff", b"\x80", b"\x7f", random.randbytes(random.randrange(1, 12)), b"\xff" * 9))
    return data[:at] + new + data[at + len(new) :]


def _insert(random: Random, data: bytes, _: bytes) -> bytes:
    at = _place(random, data)
    return data[:at] + random.randbytes(random.choice((1, 2, 8, 100))) + data[at:]


def _part(random: Random, data: bytes) -> tuple[int, int]:
    at = _place(random, data)
    return at, at + random.choice((1, 2, 5, 20, 200, 5000))


def _drop(random: Random, data: bytes, _: bytes) -> bytes:
    low, high = _part(random, data)
    return data[:low] + data[high:]


def _repeat(random: Random, data: bytes, _: bytes) -> bytes:
    low, high = _part(random, data)
    return data[:high] + data[low:]


def _blank(random: Random, data: bytes, _: bytes) -> bytes:
    low, high = _part(random, data)
    return data[:low] + bytes(len(data[low:high])) + data[high:]


def _mix(random: Random, data: bytes, other: bytes) -> bytes:
    return data[: _place(random, data)] + other[_place(random, other) :]


def _append(random: Random, data: bytes, other: bytes) -> bytes:
    return data + other  # protobuf merges the two


BYTES: tuple[Callable[[Random, bytes, bytes], bytes], ...] = (
    _cut, _flip, _flip, _flip, _set, _set, _insert, _drop, _repeat, _blank, _mix, _append
)  # fmt: skip


# Graphs


def damaged_graph(random: Random, model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with one to three kinds of damage.

    In two of three cases onnx's checker takes it, which looks at no shape: what the checker sees is the same few rules.
    """
    valid, copy = random.random() < 0.67, onnx.ModelProto()
    for _ in range(20 if valid else 1):
        copy.CopyFrom(model)
        done, wanted = 0, random.choice((1, 1, 1, 2, 3))
        while done < wanted:
            done += random.choice(GRAPHS)(random, copy)
        if not valid or _passes(copy):
            break
    return copy


def _passes(model: onnx.ModelProto) -> bool:
    if any(True for _ in external_tensors(model)):
        return True  # the checker would look for the data in the working directory
    try:
        onnx.checker.check_model(model)
    except Exception:
        return False
    return True


Damage = Callable[[Random, onnx.ModelProto], bool]
"""Damages a model in place; whether there was anything to damage."""


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(body)


def _nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    inner = [node for graph in _graphs(model.graph) for node in graph.node]
    return inner + [node for function in model.functions for node in function.node]


def _tensors(model: onnx.ModelProto) -> list[TensorProto]:
    stored = [tensor for graph in _graphs(model.graph) for tensor in graph.initializer]
    return stored + [a.t for node in _nodes(model) for a in node.attribute if a.HasField("t")]


def _infos(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [i for graph in _graphs(model.graph) for i in (*graph.input, *graph.output, *graph.value_info)]


def _attributes(model: onnx.ModelProto) -> list[AttributeProto]:
    return [attribute for node in _nodes(model) for attribute in node.attribute]


def _known_names(model: onnx.ModelProto) -> list[str]:
    names = [name for node in _nodes(model) for name in (*node.input, *node.output)]
    return names + [i.name for i in _infos(model)] + [t.name for t in model.graph.initializer] + ["?"]


def _drop_item(random: Random, model: onnx.ModelProto) -> bool:
    graph = random.choice(list(_graphs(model.graph)))
    fields = [graph.node, graph.node, graph.initializer, graph.input, graph.output, graph.value_info]
    fields += [model.opset_import, model.functions, *(f for n in _nodes(model) for f in (n.input, n.output))]
    items = random.choice([field for field in fields if len(field)] or [graph.node])
    if len(items):
        del items[random.randrange(len(items))]
    return True


def _repeat_item(random: Random, model: onnx.ModelProto) -> bool:
    graph = random.choice(list(_graphs(model.graph)))
    items = random.choice((graph.node, graph.initializer, graph.input, graph.output, graph.value_info))
    if not len(items):
        return False
    items.add().CopyFrom(random.choice(list(items)))
    if items is graph.node and random.random() < 0.7:
        for i, name in enumerate(items[-1].output):
            items[-1].output[i] = f"{name}.again"
    return True


def _reorder(random: Random, model: onnx.ModelProto) -> bool:
    graph = random.choice(list(_graphs(model.graph)))
    items = random.choice((graph.node, graph.input, graph.output))
    shuffled = copy.deepcopy(random.sample(list(items), len(items)))  # a graph within itself is too deep to be read
    del items[:]
    items.extend(shuffled)
    return True


def _rename(random: Random, model: onnx.ModelProto) -> bool:
    """One use of a tensor under another name: nothing gives it, or the graph has a cycle."""
    fields = [f for node in _nodes(model) for f in (node.input, node.output) if len(f)]
    if not fields:
        return False
    names = random.choice(fields)
    names[random.randrange(len(names))] = random.choice((random.choice(_known_names(model)), random.choice(NAMES)))
    return True


def _rename_everywhere(random: Random, model: onnx.ModelProto) -> bool:
    old, new = random.choice(_known_names(model)), random.choice((*NAMES, *_known_names(model)))
    for item in (*_infos(model), *model.graph.initializer):
        if item.name == old:
            item.name = new
    for node in _nodes(model):
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    return True


def _rename_info(random: Random, model: onnx.ModelProto) -> bool:
    items = [*_infos(model), *model.graph.initializer, *_nodes(model), model.graph, *model.functions]
    random.choice(items).name = random.choice((*NAMES, *_known_names(model)))
    return True


def _operator(random: Random, model: onnx.ModelProto) -> bool:
    nodes = _nodes(model)
    if not nodes:
        return False
    node = random.choice(nodes)
    if random.random() < 0.2:
        node.domain = random.choice(DOMAINS)
    else:
        node.op_type = random.choice(OPERATORS)
    return True


def _arity(random: Random, model: onnx.ModelProto) -> bool:
    nodes = _nodes(model)
    if not nodes:
        return False
    node = random.choice(nodes)
    names = random.choice((node.input, node.output))
    names.append(random.choice((*NAMES, *_known_names(model))))
    return True


def _attribute(random: Random, model: onnx.ModelProto) -> bool:
    nodes = _nodes(model)
    if not nodes:
        return False
    node = random.choice(nodes)
    if not node.attribute or random.random() < 0.2:
        known = [attribute.name for attribute in _attributes(model)]
        node.attribute.add(name=random.choice(("axis", "axes", "perm", "to", "keepdims", "value", *known)))
    attribute = random.choice(list(node.attribute))
    if random.random() < 0.1:
        node.attribute.remove(attribute)
        return True
    name = attribute.name
    made = random.choice(VALUES)(random)
    attribute.CopyFrom(made)
    attribute.name = name if random.random() < 0.95 else random.choice(NAMES)
    if random.random() < 0.1:
        attribute.type = random.choice(AttributeProto.AttributeType.values())
    return True


def _some(random: Random, values: tuple[int, ...] | tuple[float, ...]) -> list[float]:
    return [random.choice(values) for _ in range(random.choice((0, 1, 1, 2, 3, 4, 9)))]


VALUES: tuple[Callable[[Random], AttributeProto], ...] = (
    lambda random: AttributeProto(type=AttributeProto.INT, i=random.choice(INTEGERS)),
    lambda random: AttributeProto(type=AttributeProto.INT, i=random.choice(INTEGERS)),
    lambda random: AttributeProto(type=AttributeProto.FLOAT, f=random.choice(FLOATS)),
    lambda random: AttributeProto(type=AttributeProto.INTS, ints=[int(i) for i in _some(random, INTEGERS)]),
    lambda random: AttributeProto(type=AttributeProto.INTS, ints=[int(i) for i in _some(random, (-1, 0, 1, 2))]),
    lambda random: AttributeProto(type=AttributeProto.FLOATS, floats=_some(random, FLOATS)),
    lambda random: AttributeProto(type=AttributeProto.STRING, s=random.choice(NAMES).encode()),
    lambda _: AttributeProto(type=AttributeProto.STRING, s=b"\xff\xfe\0"),
    lambda random: AttributeProto(type=AttributeProto.TENSOR, t=_tensor(random)),
    lambda _: AttributeProto(type=AttributeProto.GRAPH, g=onnx.GraphProto(name="empty")),
    lambda _: AttributeProto(type=AttributeProto.GRAPH),
    lambda _: AttributeProto(type=AttributeProto.INT, ref_attr_name="axis"),
    lambda _: AttributeProto(),
)


def _tensor(random: Random) -> TensorProto:
    kind = random.choice(TYPES)
    dims = [random.choice((0, 1, 1, 2, 3, *INTEGERS)) for _ in range(random.choice((0, 1, 1, 2, 3)))]
    return TensorProto(name="made", data_type=kind, dims=dims, raw_data=random.randbytes(random.choice((0, 4, 8, 24))))


def _element_type(random: Random, model: onnx.ModelProto) -> bool:
    tensors = _tensors(model)
    infos = [info for info in _infos(model) if info.type.HasField("tensor_type")]
    if tensors and random.random() < 0.5:
        random.choice(tensors).data_type = random.choice(TYPES)
    elif infos:
        random.choice(infos).type.tensor_type.elem_type = random.choice(TYPES)
    return True


def _kind(random: Random, model: onnx.ModelProto) -> bool:
    """An input or an output that is no tensor."""
    infos = _infos(model)
    if not infos:
        return False
    info = random.choice(infos)
    tensor = helper.make_tensor_type_proto(random.choice(TYPES[:17]), [None, 4])
    made = (
        helper.make_sequence_type_proto(tensor),
        helper.make_optional_type_proto(tensor),
        helper.make_map_type_proto(TensorProto.INT64, tensor),
        helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [2, 2]),
        onnx.TypeProto(),
        onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor()),
    )
    info.type.CopyFrom(random.choice(made))
    return True


def _extents(random: Random, model: onnx.ModelProto) -> bool:
    infos = [info for info in _infos(model) if info.type.HasField("tensor_type")]
    tensors = _tensors(model)
    if tensors and random.random() < 0.4:
        dims = random.choice(tensors).dims
        if not len(dims) or random.random() < 0.3:
            dims.append(random.choice(INTEGERS))
        elif random.random() < 0.3:
            del dims[random.randrange(len(dims))]
        else:
            dims[random.randrange(len(dims))] = random.choice(INTEGERS)
        return True
    if not infos:
        return False
    shape = random.choice(infos).type.tensor_type.shape
    if not shape.dim or random.random() < 0.2:
        shape.dim.add()
    dim = random.choice(list(shape.dim))
    match random.randrange(5):
        case 0:
            dim.dim_value = random.choice(INTEGERS)
        case 1:
            dim.dim_param = random.choice((*NAMES, "batch", "N", "B"))
        case 2:
            dim.Clear()
        case 3:
            del shape.dim[random.randrange(len(shape.dim)) :]
        case _:
            random.choice(infos).type.tensor_type.ClearField("shape")
    return True


def _storage(random: Random, model: onnx.ModelProto) -> bool:
    """The bytes of a stored tensor: fewer, more, twice, or in a file that is not there."""
    tensors = _tensors(model)
    if not tensors:
        return False
    tensor = random.choice(tensors)
    match random.randrange(8):
        case 0:
            tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
        case 1:
            tensor.raw_data = tensor.raw_data + random.randbytes(random.choice((1, 4, 100)))
        case 2:
            tensor.ClearField("raw_data")
        case 3:
            tensor.float_data.extend(_some(random, FLOATS))
        case 4:
            tensor.int64_data.extend(int(i) for i in _some(random, INTEGERS))
        case 5:
            tensor.string_data.extend([b"\xff", b"text"])
        case 6:
            tensor.data_location = random.choice((TensorProto.DEFAULT, TensorProto.EXTERNAL))
            entries = (("location", random.choice(LOCATIONS)), ("offset", random.choice(("0", "-1", "x", "9" * 30))))
            for key, value in random.sample(entries, random.randrange(3)):
                tensor.external_data.add(key=key, value=value)
        case _:
            tensor.segment.begin, tensor.segment.end = random.choice(INTEGERS), random.choice(INTEGERS)
    return True


def _external(random: Random, model: onnx.ModelProto) -> bool:
    entries = [entry for tensor in external_tensors(model) for entry in tensor.external_data]
    if not entries:
        return False
    values = (*LOCATIONS, *map(str, INTEGERS), "", "1e3", "0x10", " 8", "+8")
    random.choice(entries).value = random.choice(values)
    return True


def _version(random: Random, model: onnx.ModelProto) -> bool:
    if random.random() < 0.3:
        model.ir_version = random.choice((*INTEGERS, *range(14)))
    elif model.opset_import and random.random() < 0.8:
        random.choice(list(model.opset_import)).version = random.choice((*INTEGERS, *range(1, 30)))
    else:
        model.opset_import.add(domain=random.choice(DOMAINS), version=random.choice((*INTEGERS, *range(1, 30))))
    return True


def _nest(random: Random, model: onnx.ModelProto) -> bool:
    """The graph as a body of a node within it, one or many levels deep."""
    levels = DEEP if random.random() < 0.05 else random.choice((1, 2))
    body = onnx.GraphProto()
    body.CopyFrom(model.graph)
    for _ in range(levels):
        node = helper.make_node(random.choice(("If", "Loop", "Scan")), random.choices(_known_names(model), k=2), ["n"])
        for name in ("then_branch", "else_branch") if node.op_type == "If" and levels < DEEP else ("body",):
            attribute = node.attribute.add(name=name, type=AttributeProto.GRAPH)
            attribute.g.CopyFrom(body)
        try:
            body = onnx.GraphProto(name="outer", output=model.graph.output, node=[node])
        except DecodeError:  # protobuf copies through bytes, and reads no message within so many others
            return False
    model.graph.node.extend(body.node)
    return True


def _function(random: Random, model: onnx.ModelProto) -> bool:
    """A function of the model, which may call itself."""
    nodes = _nodes(model)
    if not nodes:
        return False
    node = random.choice(nodes)
    made = model.functions.add(name=node.op_type, domain=random.choice((node.domain, "local")))
    made.input.extend(node.input if random.random() < 0.8 else ["a", "b"])
    made.output.extend(node.output)
    made.node.add().CopyFrom(node)
    made.opset_import.extend(model.opset_import if random.random() < 0.8 else [])
    node.domain = made.domain
    return True


def _sparse(random: Random, model: onnx.ModelProto) -> bool:
    tensors = list(model.graph.initializer)
    if not tensors:
        return False
    sparse = model.graph.sparse_initializer.add(dims=[random.choice(INTEGERS), 4])
    sparse.values.CopyFrom(random.choice(tensors))
    sparse.indices.CopyFrom(_tensor(random))
    if random.random() < 0.5:
        sparse.indices.data_type = TensorProto.INT64
    return True


def _metadata(random: Random, model: onnx.ModelProto) -> bool:
    for key in ("mari_onnx.provenance", random.choice(NAMES)):
        model.metadata_props.add(key=key, value=random.choice(('{"a": 1}', "[1]", "", "{", "\0", *NAMES)))
    note = model.graph.quantization_annotation.add(tensor_name=random.choice(_known_names(model)))
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=random.choice(_known_names(model)))
    return True


def _numbers(random: Random, model: onnx.ModelProto) -> bool:
    """Integers of a stored tensor, such as a target shape, at the edges of what there is."""
    tensors = [tensor for tensor in _tensors(model) if tensor.data_type == TensorProto.INT64 and tensor.raw_data]
    if not tensors:
        return False
    tensor = random.choice(tensors)
    count = len(tensor.raw_data) // 8
    numbers = list(struct.unpack(f"<{count}q", tensor.raw_data[: 8 * count]))
    if numbers:
        numbers[random.randrange(count)] = random.choice(INTEGERS)
    tensor.raw_data = struct.pack(f"<{count}q", *numbers)
    return True


GRAPHS: tuple[Damage, ...] = (
    _drop_item, _drop_item, _repeat_item, _reorder, _rename, _rename, _rename_everywhere, _rename_info, _operator,
    _operator, _arity, _attribute, _attribute, _element_type, _kind, _extents, _extents, _storage, _external, _version,
    _nest, _function, _sparse, _metadata, _numbers, _numbers,
)  # fmt: skip

OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
