"""Recompose written models into one model that has the inputs and outputs of the original.

A result may have another signature than the original, or consist of several models. To verify it, both have to be run
on the same inputs. The recomposed model takes the original's inputs, computes from them the inputs of each part by a
few nodes, and runs the parts. All checks of a model with the original's signature then work on it, also in float64.

    inputs                are computed as the mode defines; see `Mode.feed`
    user and item model   each of their outputs goes to the ranking model's input of that name
    `mari_guard`          outputs are NaN where it is false; see `OutputGuard.fold`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from mari_onnx.document.document import Document
from mari_onnx.document.external import has_external_data
from mari_onnx.document.provenance import WHOLE, Origin, read, stamp
from mari_onnx.document.scopes import all_names, rename
from mari_onnx.errors import UserError
from mari_onnx.serving.call_graph import CallGraph, fed_inputs
from mari_onnx.serving.guard import OutputGuard
from mari_onnx.serving.mode import Mode


def together(reference: Document, parts: Sequence[Document], mode: Mode) -> Document:
    """The parts as one model with the reference's inputs and outputs; the last part has the outputs.

    A single part that takes the reference's inputs unchanged comes back as it is. A part whose inputs do not fit the
    reference is not checked here, except for its rank; the comparison reports it. Raises UserError if parts with
    external data lie in several folders, and for an input of another rank.
    """
    inputs = fed_inputs(reference.proto)
    guard = mode.guard if isinstance(mode.guard, OutputGuard) else None
    if len(parts) == 1 and guard is None and not _sent_otherwise(sent_inputs(parts), inputs, mode):
        return parts[0]
    folders = {part.base_dir: part.linked for part in parts if has_external_data(part.proto)}
    if len(folders) > 1:
        raise UserError("the models lie in several folders, each with external data", "put them into one folder")
    opset = next((o.version for o in parts[-1].repaired.opset_import if o.domain in ("", "ai.onnx")), 0)
    whole = _Whole(mode, guard, CallGraph(inputs, opset))
    for i, part in enumerate(parts[:-1]):
        whole.add(part.proto, f"part{i}/")
    whole.add_last(parts[-1].proto)
    base_dir, linked = folders.popitem() if folders else (parts[-1].base_dir, None)
    return Document(None, whole.model(parts[-1].proto), base_dir, linked)


SENT = "sent/"
"""The beginning of the names of inputs of a written model among those of the original."""


def feeding(reference: Document, parts: Sequence[Document], mode: Mode) -> Document | None:
    """A model that computes what a caller sends to written models from the reference's inputs; None where it is these.

    With `user` [1, 4] instead of `user` [B, 4], it takes `user` [B, 4] and has the output `sent/user` [1, 4]. What a
    part of a split gets from another is not sent.
    """
    inputs, sent, written = fed_inputs(reference.proto), sent_inputs(parts), parts[-1]
    if not _sent_otherwise(sent, inputs, mode):
        return None
    opset = next((o.version for o in written.repaired.opset_import if o.domain in ("", "ai.onnx")), 0)
    whole = _Whole(mode, None, CallGraph(inputs, opset))
    for name, info in sent.items():
        whole.feed(info, f"{SENT}{name}")
        output = onnx.ValueInfoProto()
        output.CopyFrom(info)
        output.name = f"{SENT}{name}"
        whole.outputs.append(output)
    return Document(None, whole.model(written.proto), None)


def sent_inputs(parts: Sequence[Document]) -> dict[str, onnx.ValueInfoProto]:
    """The inputs of written models that a caller sends, by name: those that are no outputs of another one."""
    made = {output.name for part in parts[:-1] for output in part.proto.graph.output}
    return {name: info for part in parts for name, info in fed_inputs(part.proto).items() if name not in made}


def _rank(info: onnx.ValueInfoProto | None) -> int | None:
    """The number of dimensions of an input; None where it is not declared."""
    declared = None if info is None else info.type.tensor_type
    return len(declared.shape.dim) if declared is not None and declared.HasField("shape") else None


def _sent_otherwise(
    sent: Mapping[str, onnx.ValueInfoProto], original: Mapping[str, onnx.ValueInfoProto], mode: Mode
) -> bool:
    return any(mode.feed(info, original.get(name)) for name, info in sent.items())


@dataclass
class _Whole:
    """The model that is being put together.

    `made` maps the outputs of earlier parts to their names here. `origins` has the origins of all parts' tensors, by
    the names that the tensors have here.
    """

    mode: Mode
    guard: OutputGuard | None
    call: CallGraph
    sparse: list[onnx.SparseTensorProto] = field(default_factory=list)
    functions: dict[tuple[str, str, str], onnx.FunctionProto] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def add(self, model: onnx.ModelProto, prefix: str) -> None:
        """Add a part whose outputs are inputs of later parts. All of its names get the prefix."""
        names = {name: f"{prefix}{name}" for name in all_names(model.graph)}
        graph = self._fed(model, names, prefix)
        for node in graph.node:
            node.name = ""  # the other parts may have one of that name
        self._add(graph, model)
        # A tensor without an origin is one of the original. It has another name here only because of the prefix.
        origins = {name: Origin(name, WHOLE, "") for name in names} | read(model)
        self.origins.update((names.get(name, name), origin) for name, origin in origins.items())
        self.made.update((o.name, names[o.name]) for o in model.graph.output)

    def add_last(self, model: onnx.ModelProto) -> None:
        """Add the part that has the outputs. It keeps its names, except for its inputs and guarded outputs."""
        answers = {o.name: f"unguarded/{o.name}" for o in model.graph.output} if self.guard else {}
        self._add(self._fed(model, answers, SENT), model)
        self.origins.update((answers.get(name, name), origin) for name, origin in read(model).items())
        if self.guard:
            self.guard.fold(self.call, model.graph.output, answers)
        added = {o.name for o in self.guard.outputs} if self.guard else set()
        self.outputs = [o for o in model.graph.output if o.name not in added]

    def model(self, like: onnx.ModelProto) -> onnx.ModelProto:
        """Everything that was added, with the reference's inputs and the last part's outputs."""
        # Before IR version 4 every stored tensor would have to be an input.
        out = onnx.ModelProto(ir_version=max(like.ir_version, 4), producer_name=like.producer_name)
        out.opset_import.extend(like.opset_import)
        out.functions.extend(self.functions.values())
        out.graph.name = "together"
        out.graph.input.extend(self.call.inputs.values())
        out.graph.output.extend(self.outputs)
        out.graph.initializer.extend(self.call.initializers.values())
        out.graph.sparse_initializer.extend(self.sparse)
        out.graph.node.extend(self.call.nodes)
        stamp(out, self.origins)
        return out

    def _fed(self, model: onnx.ModelProto, names: Mapping[str, str], prefix: str) -> onnx.GraphProto:
        """The graph of a part with its names changed by `names`, and with nodes that compute its inputs."""
        graph, inputs = onnx.GraphProto(), fed_inputs(model)
        graph.CopyFrom(model.graph)
        rename(graph, {**names, **{name: f"{prefix}{name}" for name in inputs}})
        for name, info in inputs.items():
            self.feed(info, f"{prefix}{name}")
        return graph

    def feed(self, info: onnx.ValueInfoProto, to: str) -> None:
        """Add nodes that compute an input of a part, as a tensor of the name `to`.

        Raises UserError if the reference's input of that name has another rank.
        """
        name, given = info.name, self.call.inputs.get(info.name)
        if name in self.made:
            self.call.node("Identity", [self.made[name]], to)
            return
        ranks = {_rank(declared) for declared in (info, given) if declared is not None} - {None}
        if len(ranks) > 1:
            raise UserError(
                f"the input `{name}` has rank {_rank(info)}, and that of the reference has rank {_rank(given)}",
                "compare two models that take the same inputs",
            )
        if feed := self.mode.feed(info, given):
            feed(self.call, to)
        else:
            self.call.inputs.setdefault(name, info)  # the comparison will say if the reference lacks it
            self.call.node("Identity", [name], to)

    def _add(self, graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
        self.call.nodes.extend(graph.node)
        for constant in graph.initializer:
            self.call.add(constant)
        self.sparse.extend(graph.sparse_initializer)
        self.functions.update(((f.domain, f.name, f.overload), f) for f in model.functions)
