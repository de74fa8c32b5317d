"""Splitting an optimized model into a user model, an item model if items are declared, and a ranking model.

    user model       user_id, ...  ->  h.user [1, 96]        runs once for each request
    item model       item_id, ...  ->  h.item [B, 96]        runs once for each item of the catalogue
    ranking model    h.user, h.item, other inputs  ->  y     runs for each call

The optimized graph is cut (see `min_cut`) between the nodes that depend on the request alone and the rest. The rest is
cut in the same way between the nodes that depend on the items alone and the ranking model. A catalogue is computed in
batches of any size, so a value may come from the item model only if each of its rows depends on one item alone (see
`row_independence`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import MappingProxyType

import onnx
from onnx import TensorProto, helper

from mari_onnx.document import provenance
from mari_onnx.document.check import copy_fields
from mari_onnx.document.graph_view import shape_of
from mari_onnx.document.provenance import WHOLE, Origin
from mari_onnx.document.scopes import reads, stored_names
from mari_onnx.emission import Written, write
from mari_onnx.errors import UserError
from mari_onnx.ir.cost import NS_PER_LAUNCH, UNKNOWN_EXTENT
from mari_onnx.ir.extents import Extent, evaluate, symbols
from mari_onnx.partition.min_cut import Cut, Priced, cut
from mari_onnx.partition.row_independence import Rows
from mari_onnx.planning.plan import Plan
from mari_onnx.report.split import Crossing, Part, Role, Split

INPUTS_BY_CHOICE = 4
"""The IR version from which on an initializer need not be an input as well."""

OF: Mapping[Role, str] = {"user": "request", "item": "item"}
"""What the outputs of a model are computed for."""

NO_BOUNDS: Mapping[Role, int] = MappingProxyType({})

STRING_BYTES = 16
"""The assumed size of a string."""

NOT_CUT = {
    "user": "no value is computed from the request's inputs alone",
    "item": "no value that comes, row by row, from the items' inputs alone is worth sending",
}


@dataclass(frozen=True)
class Partition:
    """The models by role, of which the ranking model is the last, and the report of the split.

    `macs` are the multiply-adds of the nodes, by their first output. `rank_time` are the nanoseconds that the nodes of
    the ranking model are estimated to take.
    """

    models: Mapping[Role, onnx.ModelProto]
    report: Split
    macs: Mapping[str, int]
    rank_time: float


def partition(plan: Plan, most_bytes: Mapping[Role, int] = NO_BOUNDS) -> Partition:
    """Split the model of a plan. Its `reading.premises.items` are the inputs of the item model, if there is one.

    By role, at most so many bytes go from the user model to the ranking model for each request, and from the item model
    for each item.

    Raises UserError if no value can be computed by the user model, or by the item model that was asked for, and where
    more bytes cross than may.
    """
    written = write(plan.lowered)
    return _Splitter(plan, written, written.macs(plan.cost), most_bytes).parts(plan.reading.premises.items)


@dataclass
class _Splitter:
    """A split in progress: the written model of the plan, and the models that were cut off so far."""

    plan: Plan
    written: Written
    macs: Mapping[str, int]
    most_bytes: Mapping[Role, int]
    models: dict[Role, onnx.ModelProto] = field(default_factory=dict)
    parts_: list[Part] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    choice: list[str] = field(default_factory=list)

    def parts(self, items: Collection[str]) -> Partition:
        """Cut off the user model, and then the item model, which may contain nothing that the user model computes."""
        rank = self.written.model
        whole = self._macs(rank.graph.node)
        rank = self._cut_off("user", rank, {i.name for i in self.plan.reading.roles.inputs}, None)
        if items:
            rank = self._cut_off("item", rank, items, self._by_row(items))
        self.models["rank"] = rank
        self.parts_.append(Part("rank", len(rank.graph.node), self._macs(rank.graph.node), rank.ByteSize()))
        report = Split(tuple(self.parts_), tuple(self.crossings), tuple(self.choice), whole)
        return Partition(dict(self.models), report, self.macs, sum(map(self._time, rank.graph.node)))

    def _cut_off(
        self, role: Role, rank: onnx.ModelProto, side: Collection[str], may_cross: Collection[str] | None
    ) -> onnx.ModelProto:
        """The ranking model without the nodes of a side, which become the model of this role.

        `side` are the inputs of the side. Only values in `may_cross` cross, or any value if that is None.
        """

        def size(name: str) -> float | None:
            allowed = may_cross is None or name in may_cross or name in side
            each = self._bytes(name, role) if allowed else None
            return each and each * count

        count = self.plan.cost.batch if role == "item" else 1
        sent_to_rank = _inputs(rank)
        inputs = [i.name for i in sent_to_rank]
        own = [name for name in inputs if name in side]
        priced = Priced(size, self._time, lambda node: self._macs([node]))
        most = self.most_bytes.get(role)
        found = cut(rank.graph, own, inputs, priced, None if most is None else most * count)
        if found is None:
            step = "declare the user's inputs: -u 'user_*'" if role == "user" else "leave the item model out"
            raise UserError(f"the model cannot be split: {NOT_CUT[role]}", step)
        if most is not None:
            self._check_bytes(role, [*found.inputs, *found.computed], most)
        behind = {name for node in found.behind for name in reads(node)} | {o.name for o in rank.graph.output}
        before = {name for node in found.before for name in reads(node)}
        answers = {o.name for o in rank.graph.output}
        # The ranking model has all outputs of the whole. So an output that crosses comes to it under another name.
        sent = {name: self._unused(f"{name}.{role}") if name in answers else name for name in found.computed}
        outputs = [self._info(name, sent[name]) for name in found.computed]
        out = [helper.make_node("Identity", [n], [other]) for n, other in sent.items() if n != other]
        back = [helper.make_node("Identity", [other], [n]) for n, other in sent.items() if n != other]
        ahead = [i for i in sent_to_rank if i.name in before or (i.name in own and i.name not in behind)]
        self.models[role] = _part(rank, role, [*found.before, *out], ahead, outputs, sent)
        kept = [i for i in sent_to_rank if i.name not in own or i.name in behind]
        self.parts_.append(Part(role, len(found.before), self._macs(found.before), self.models[role].ByteSize()))
        self._explain(role, found, [i for i in kept if i.name in own], sent)
        return _part(rank, "rank", [*back, *found.behind], [*kept, *outputs], list(rank.graph.output), sent)

    def _check_bytes(self, role: Role, names: Sequence[str], most: int) -> None:
        """Raise UserError where these values take more bytes than may cross."""
        sizes = {name: self._bytes(name, role) or 0 for name in names}
        if (total := sum(sizes.values())) > most:
            largest = max(sizes, key=lambda name: sizes[name])
            raise UserError(
                f"for each {OF[role]} {total:,.0f} bytes would go from the {role}'s part to the ranking model, "
                f"{sizes[largest]:,.0f} of them `{largest}`, and at most {most:,} may",
                f"allow more with --max-{role}-bytes, or send halves with --crossing float16",
            )

    def _explain(self, role: Role, found: Cut, inputs: Sequence[onnx.ValueInfoProto], sent: Mapping[str, str]) -> None:
        names = [*(i.name for i in inputs), *found.computed]
        of = OF[role]
        sizes = [self._bytes(name, role) or 0 for name in names]
        for name, bytes_ in zip(names, sizes, strict=True):
            info = self._info(name, sent.get(name, name))
            shape = tuple(shape_of(info) or ())
            kind = TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()
            self.crossings.append(Crossing(role, info.name, kind, shape, round(bytes_), name in found.computed))
        most = [self._bytes(name, role) for name in found.frontier]
        least = (
            f"for each {of} {_values(names)} of {sum(sizes):,.0f} bytes go from the {role}'s part to the ranking model"
        )
        rest = f"where the two meet there are {_values(most)} of {sum(b or 0 for b in most):,.0f} bytes"
        self.choice.append(f"{least}; {rest}")
        if found.repeated:
            macs = self._macs(found.repeated)
            what = f"{len(found.repeated)} of the {role}'s nodes, {macs:,} multiply-adds,"
            self.choice.append(f"{what} run in the ranking model: that is cheaper than to send what they make")

    def _unused(self, wanted: str) -> str:
        graph = self.written.model.graph
        taken = {i.name for i in graph.input} | {name for node in graph.node for name in node.output}
        while wanted in taken | stored_names(graph):
            wanted += "_"
        return wanted

    # What is known of tensors and nodes

    def _shape(self, name: str) -> tuple[Extent, ...] | None:
        tensor = self.written.tensors.get(name)
        return (1,) if name in self.written.extents else None if tensor is None else tensor.shape

    @cached_property
    def _requests(self) -> set[str]:
        """The symbols for the number of requests, if a call has several."""
        shapes = [self._shape(name) for name in self.plan.reading.roles.of_requests]
        return {s for shape in shapes if shape for s in symbols(shape[0])}

    def _dtype(self, name: str) -> int:
        tensor = self.written.tensors.get(name)
        return TensorProto.INT64 if tensor is None else tensor.dtype

    def _bytes(self, name: str, role: Role) -> float | None:
        """The bytes of a value for one request, or for one item; None if they are not known."""
        shape, dtype = self._shape(name), self._dtype(name)
        if shape is None or not dtype:
            return None
        context = self.plan.program.context
        one = context.candidates if role == "item" else self._requests
        reference = {**self.plan.cost.reference, **dict.fromkeys(one, 1)}
        size = STRING_BYTES if dtype == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(dtype).itemsize
        return float(size * prod(evaluate(e, reference, UNKNOWN_EXTENT) for e in shape))

    def _time(self, node: onnx.NodeProto) -> float:
        made = self.written.tensors.get(node.output[0])
        return NS_PER_LAUNCH if made is None else self.plan.cost.node_time(made.node)

    def _macs(self, nodes: Sequence[onnx.NodeProto]) -> int:
        return sum(self.macs.get(node.output[0], 0) for node in nodes)

    def _info(self, name: str, called: str) -> onnx.ValueInfoProto:
        """The value as an input or output `called` so; an extent has a name only if a graph input has it too."""
        graph = self.written.model.graph
        stated: dict[str, onnx.ValueInfoProto] = {i.name: i for i in graph.input}
        if name in stated:
            return stated[name]
        shape = self._shape(name)
        known = {d.dim_param for i in graph.input for d in _dims(i)}
        assert shape is not None, "what crosses has a size"
        return helper.make_tensor_value_info(
            called, self._dtype(name), [e if isinstance(e, int) else str(e) if str(e) in known else None for e in shape]
        )

    def _by_row(self, items: Collection[str]) -> set[str]:
        """The names of the values whose rows each depend on one item alone."""
        graph, context = self.written.model.graph, self.plan.program.context
        leading = [shape[0] for shape in map(self._shape, items) if shape]
        candidates = [e for e in leading if symbols(e) & context.candidates]
        if not candidates:
            return set()
        stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.INT64}

        def integers(name: str) -> list[int] | None:
            return [int(e) for e in self.plan.reading.model.array_of(stored[name]).flat] if name in stored else None

        return Rows(graph, candidates[0], self._shape, integers).walk(items)


def _values(some: Sequence[object]) -> str:
    return f"{len(some)} value{'s' * (len(some) != 1)}"


def _dims(info: onnx.ValueInfoProto) -> Sequence[onnx.TensorShapeProto.Dimension]:
    dims: Sequence[onnx.TensorShapeProto.Dimension] = info.type.tensor_type.shape.dim
    return dims


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller sends. Before IR version 4 every initializer is listed as an input, too."""
    stored = stored_names(model.graph) if model.ir_version < INPUTS_BY_CHOICE else set()
    return [i for i in model.graph.input if i.name not in stored]


def _part(
    whole: onnx.ModelProto,
    role: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    sent: Mapping[str, str],
) -> onnx.ModelProto:
    """A model of these nodes with the constants that they read; everything else is copied from the whole.

    `sent` has the name under which each value crosses, by the name of the value in the whole.
    """
    out = onnx.ModelProto()
    copy_fields(whole, out, but="graph")
    graph, source = out.graph, whole.graph
    graph.name = f"{source.name.removesuffix('.rank')}.{role}"
    graph.doc_string = source.doc_string
    graph.metadata_props.extend(source.metadata_props)
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    read = {name for node in nodes for name in reads(node)} | {o.name for o in outputs}
    fed = {i.name for i in _inputs(whole)}
    graph.input.extend(i for i in source.input if i.name in read - fed)
    read |= {i.name for i in inputs}  # an input's default
    graph.initializer.extend(t for t in source.initializer if t.name in read)
    graph.sparse_initializer.extend(t for t in source.sparse_initializer if t.values.name in read)
    inner = {name for node in nodes for name in node.output} | stored_names(graph)
    outer = {o.name for o in outputs} | {i.name for i in inputs}
    graph.value_info.extend(v for v in source.value_info if v.name in inner - outer)
    origins = provenance.read(whole)
    crossing = {other: origins.get(n, Origin(n, WHOLE, "partition")) for n, other in sent.items() if n != other}
    provenance.stamp(out, {name: origin for name, origin in (origins | crossing).items() if name in inner | outer})
    graph.quantization_annotation.extend(a for a in source.quantization_annotation if a.tensor_name in inner | outer)
    return out
