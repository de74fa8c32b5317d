"""Models in float64, also where onnxruntime lacks float64 kernels.

onnxruntime runs what it can. Where it has no float64 kernel for an operator, the graph is cut around its nodes, and
something else runs them: the recurrent cells of this package, else ONNX's reference interpreter. A node that neither
can run is run in float32 between casts. `Exact.limits` names such nodes, because what follows them is no more exact
than float32.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto
from onnx.reference import ReferenceEvaluator

from mari_onnx.document.scopes import bodies, reads
from mari_onnx.verification.float64.operators import STAND_INS
from mari_onnx.verification.float64.raised import lowered, raise_feeds, raised
from mari_onnx.verification.float64.recurrent import RECURRENT, recurrent
from mari_onnx.verification.runtimes.answers import tensors_of
from mari_onnx.verification.runtimes.onnxruntime import Array, Feeds, RunError, Source, Values
from mari_onnx.worker import doing

RAISABLE = 1_500_000_000
"""The largest model, in bytes with its external data, that is raised to float64."""

_LACKING = re.compile(r"implementation for (?:[\w.]+[.:])?(\w+)\(\d+\) node|of operator \((\w+)\)")
"""How onnxruntime says that it has no kernel, or no signature, for an operator."""

_NARROW = {"AffineGrid", "CausalConvWithState", "LinearAttention", "TfIdfVectorizer"}
"""Operators that ONNX's interpreter computes in float32 whatever it is given."""

Prepare = Callable[[NodeProto, Feeds], Callable[[Feeds], Values]]


@dataclass
class _Group:
    """Nodes that run together: in one session of onnxruntime, or one after the other by stand-ins."""

    in_runtime: bool
    nodes: list[NodeProto] = field(default_factory=list)
    run: Callable[[Feeds], Values] | None = None


class Exact:
    """A model in float64, as a function from inputs to outputs, both by name.

    `expose` are further tensors that the function returns, and `change` is applied to the raised model first. `limits`
    are, after a call, the operators that ran in float32, by name of a tensor that they made.

    Raises RunError where the model is too large to be raised. A call raises RunError where the model cannot be run.
    """

    def __init__(
        self,
        source: Source,
        expose: Iterable[str] = (),
        change: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None,
    ) -> None:
        if source.document.bytes > RAISABLE:
            raise RunError(f"the {source.role} model is too large to be raised to float64")
        self.source, self.model = source, raised(source.proto)
        if change is not None:
            self.model = change(self.model)
        self.limits: dict[str, str] = {}
        self.outputs = [output.name for output in self.model.graph.output]
        self.exposed = [name for name in expose if name not in self.outputs]
        self._constants = {t.name: t for t in self.model.graph.initializer}
        self._lacking = set(RECURRENT)
        self._groups = self._plan()

    def __call__(self, feeds: Feeds) -> Values:
        doing(f"ran the {self.source.role} model in float64")
        while True:
            values = raise_feeds(feeds)
            try:
                for group in self._groups:
                    group.run = group.run or self._runner(group, values)
                    values.update(group.run(values))
                return self._answers(values)
            except _LackingError as lacking:
                self._lacking |= lacking.op_types
                self._groups = self._plan()

    def _answers(self, values: Values) -> Values:
        """The outputs, stored ones too, and what was exposed besides."""
        stored = [name for name in self.outputs if name not in values and name in self._constants]
        values = values | {name: self._value(name, {}) for name in stored}
        return tensors_of({n: values[n] for n in (*self.outputs, *self.exposed) if n in values}, np.float64)

    def _plan(self) -> list[_Group]:
        """The nodes in as few groups as their order allows: even groups run in onnxruntime, odd ones by stand-ins."""
        stage: dict[str, int] = {}
        groups: dict[int, _Group] = {}
        for node in self.model.graph.node:
            after = max((stage.get(name, 0) for name in reads(node)), default=0)
            stands = not self._lacking.isdisjoint(_op_types(node))
            own = after if after % 2 == stands else after + 1
            groups.setdefault(own, _Group(not stands)).nodes.append(node)
            stage.update(dict.fromkeys(node.output, own))
        return [groups[i] for i in sorted(groups)]

    def _runner(self, group: _Group, values: Mapping[str, Array]) -> Callable[[Feeds], Values]:
        if not group.in_runtime:
            stand_ins = [self._stand_in(node) for node in group.nodes]

            def run(values: Feeds) -> Values:
                made = dict(values)
                for stand_in in stand_ins:
                    made.update(stand_in(made))
                return made

            return run
        made = {name for node in group.nodes for name in node.output}
        read = {name for node in group.nodes for name in reads(node)}
        later = {n for other in self._groups if other is not group for node in other.nodes for n in reads(node)}
        wanted = sorted((made & (later | {*self.outputs, *self.exposed})) - {""})
        return self._in_runtime(group.nodes, sorted(read - made), wanted, values)

    def _in_runtime(
        self, nodes: Sequence[NodeProto], read: Sequence[str], wanted: Sequence[str], values: Mapping[str, Array]
    ) -> Callable[[Feeds], Values]:
        graph = onnx.helper.make_graph(nodes, "float64", [], [ValueInfoProto(name=name) for name in wanted])
        fed = [name for name in read if name not in self._constants]
        graph.initializer.extend(self._constants[name] for name in read if name in self._constants)
        for name in fed:
            if name not in values:
                raise RunError(f"`{name}` is not a tensor")
            element = _element_type(values[name])
            graph.input.append(onnx.helper.make_tensor_value_info(name, element, [None] * values[name].ndim))
        model = _model(self.model, graph)
        try:
            run = self.source.runner(self.source.variant(model))
        except RunError as error:
            found = _LACKING.search(str(error))
            there = set[str]().union(*map(_op_types, nodes))
            lacking = {found[1] or found[2]} & there if found else set()
            # onnxruntime may have replaced an operator by its definition, and lack a kernel for a part of that.
            lacking = lacking or {op_type for op_type in there if found and _is_function(op_type, self.model)}
            if lacking <= self._lacking:
                raise
            raise _LackingError(lacking) from error
        return lambda values: run({name: values[name] for name in fed})

    def _stand_in(self, node: NodeProto) -> Callable[[Feeds], Values]:
        """The first stand-in that can run the node: recurrent cells or the interpreter, else float32."""
        first = self._recurrent if node.op_type in RECURRENT else self._interpreted
        candidates: list[Prepare] = [first, self._in_float32]
        chosen: list[Callable[[Feeds], Values]] = []
        problems: list[str] = []

        def run(values: Feeds) -> Values:
            while candidates:  # who ran the last call may be unable to run this one
                try:
                    found = chosen[0] if chosen else candidates[0](node, values)
                    outputs = found(values)
                except (NotImplementedError, _UnableError) as error:
                    problems.append(str(error))
                    chosen.clear()
                    candidates.pop(0)
                    continue
                chosen[:] = [found]
                if candidates[0] == self._in_float32:
                    self.limits[node.output[0] or node.output[-1]] = node.op_type
                return outputs
            raise RunError(f"{node.op_type} `{node.output[0]}` runs nowhere in float64 ({'; '.join(problems)[:200]})")

        return run

    def _recurrent(self, node: NodeProto, _: Feeds) -> Callable[[Feeds], Values]:
        def run(values: Feeds) -> Values:
            inputs = [self._value(name, values) if name else None for name in node.input]
            made = zip(node.output, recurrent(node, inputs), strict=False)
            return {name: value for name, value in made if name}

        return run

    def _interpreted(self, node: NodeProto, values: Feeds) -> Callable[[Feeds], Values]:
        """The node in ONNX's reference interpreter."""
        if not _NARROW.isdisjoint(_op_types(node)):
            raise _UnableError("ONNX's interpreter has it in float32")
        read = reads(node)
        outputs = [name for name in node.output if name]
        graph = onnx.helper.make_graph([node], "one", [], [ValueInfoProto(name=name) for name in outputs])
        for name in dict.fromkeys(read):
            value = self._value(name, values)
            graph.input.append(onnx.helper.make_tensor_value_info(name, _element_type(value), [None] * value.ndim))
        try:
            evaluator = ReferenceEvaluator(_model(self.model, graph), new_ops=STAND_INS)
        except Exception as error:  # whatever an operator's implementation raises
            raise _UnableError(str(error)) from error

        def run(values: Feeds) -> Values:
            try:
                with np.errstate(all="ignore"):
                    made = evaluator.run(outputs, {name: self._value(name, values) for name in read})
            except Exception as error:
                raise _UnableError(str(error)) from error
            arrays = (m if isinstance(m, list | dict) else np.asarray(m) for m in made)
            return dict(zip(outputs, arrays, strict=True))

        return run

    def _in_float32(self, node: NodeProto, values: Feeds) -> Callable[[Feeds], Values]:
        """The node in onnxruntime in float32, between casts."""
        read = list(dict.fromkeys(reads(node)))
        outputs = [name for name in node.output if name]

        def narrow(values: Feeds) -> Values:
            found = {name: self._value(name, values) for name in read}
            return {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in found.items()}

        graph = onnx.helper.make_graph([lowered(node)], "one", [], [ValueInfoProto(name=name) for name in outputs])
        for name, value in narrow(values).items():
            graph.input.append(onnx.helper.make_tensor_value_info(name, _element_type(value), [None] * value.ndim))
        try:
            session = self.source.runner(self.source.variant(_model(self.model, graph)))
        except RunError as error:
            raise _UnableError(str(error)) from error
        return lambda values: raise_feeds(session(narrow(values)))

    def _value(self, name: str, values: Feeds) -> Array:
        if name not in values:
            if name not in self._constants:
                raise RunError(f"`{name}` is not a tensor")
            return self.source.array_of(self._constants[name])
        if not isinstance(values[name], np.ndarray):
            raise RunError(f"`{name}` is not a tensor")
        return values[name]


class _LackingError(Exception):
    """onnxruntime has no float64 kernels for the operators in `op_types`."""

    def __init__(self, op_types: set[str]) -> None:
        super().__init__(", ".join(sorted(op_types)))
        self.op_types = op_types


class _UnableError(Exception):
    """A node cannot be run by this stand-in."""


def _is_function(op_type: str, model: onnx.ModelProto) -> bool:
    """Whether ONNX defines a standard operator as a function of other operators."""
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    try:
        schema = onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return False
    return any(getattr(schema, kind, False) for kind in ("has_function", "has_context_dependent_function"))


def _model(like: onnx.ModelProto, graph: onnx.GraphProto) -> onnx.ModelProto:
    return onnx.helper.make_model(graph, opset_imports=like.opset_import, ir_version=like.ir_version)


def _element_type(value: Array) -> int:
    if not isinstance(value, np.ndarray):
        raise RunError("a sequence stands between two parts of the model")
    return TensorProto.STRING if value.dtype.kind in "OUS" else int(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))


def _op_types(node: NodeProto) -> set[str]:
    """The operators of a node and of its bodies."""
    return {node.op_type}.union(*(_op_types(inner) for body in bodies(node) for inner in body.node))
