"""The walk: each node once, in order, from the forms of its inputs to the forms of its outputs.

This is partial evaluation in the sense of JAX's batching rules, undone: one rule for each operator family, no
pattern matching and no rewriting to a fixpoint. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import prod

import onnx
from onnx import TensorProto

from mari_onnx.analysis.claims import claim
from mari_onnx.analysis.context import Context, Derived, Op, Rule
from mari_onnx.analysis.counting import Counter
from mari_onnx.analysis.equal_extents import merged, single
from mari_onnx.analysis.loop_bodies import once
from mari_onnx.analysis.premises import Premises
from mari_onnx.analysis.remarks import side
from mari_onnx.analysis.rules import rule_for
from mari_onnx.analysis.shape_inference import Inference, types_of_one
from mari_onnx.analysis.shape_values import MAX_ELEMENTS, Content, as_content, content
from mari_onnx.document.graph_view import Model, Shape, captures, shape_of
from mari_onnx.document.provenance import Origin
from mari_onnx.document.signature import AS_IT_WAS, Signature
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Dims, Refused, extents, new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import NO_WORK, CostModel, Work
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.extents import Extent, rename, symbol, symbols
from mari_onnx.ir.forms import Array, IndexMap, Value
from mari_onnx.ir.operators import traits_of
from mari_onnx.ir.validate import InvalidError, check_values
from mari_onnx.report.model import Remark

EXACT = frozenset({TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL})
"""Element types whose small constants are known to shape arithmetic."""


@dataclass
class Program:
    """A graph, interpreted: its values by name, what was said about them, and what its symbols stand for.

    `outputs` are the graph's. `providers` say of which axis of which tensor a symbol is the extent; `same` maps symbols
    that were proven equal to the one that stands for them; `signature` is how the result is called otherwise than the
    original. `work` is what the original takes.
    """

    context: Context
    values: dict[str, Value]
    outputs: list[Value]
    providers: dict[str, tuple[Tensor, int]]
    same: dict[str, str] = field(default_factory=dict)
    signature: Signature = AS_IT_WAS
    work: Work = NO_WORK


def interpret(model: Model, premises: Premises, cost: CostModel) -> Program:
    """Walk the graph; again where the walk itself proved that two symbols are the same extent."""
    same = merged({}, premises.equal, cost.reference)
    while True:
        walk = _Walk(model, premises, cost, same)
        walk.graph(model.graph)
        found = merged(same, walk.ctx.proven_equal, cost.reference)
        if found == same:
            return walk.program()
        same = found


@dataclass(frozen=True)
class Broken(Refused):
    """A rule did not refuse: it broke, which is a bug in mari-onnx."""


@dataclass(frozen=True)
class _Derivation:
    """The outputs of a node, and the family of the rule that derived them; "" where the node is as it was."""

    values: list[Value]
    rule: str


class _Walk:
    """One walk. `same` maps symbols that are known to be equal to the one that stands for them."""

    def __init__(self, model: Model, premises: Premises, cost: CostModel, same: dict[str, str]) -> None:
        self.model, self.premises, self.same = model, premises, same
        self.inputs = {info.name: info for info in (*model.inputs, *premises.signature.inputs)}
        candidates = frozenset(same.get(c, c) for c in premises.candidates)
        of_outputs = frozenset(symbol(same.get(s, s)) for s in model.output_symbols)
        self.ctx = Context(
            Builder(), cost, model.array_of, model.opset, candidates, read_counts=model.uses, output_extents=of_outputs
        )
        self.counter = Counter(replace(cost, emphasis=0.0), candidates)
        self.values: dict[str, Value] = {}
        self.providers = self.ctx.providers
        self.inference = Inference(model)

    def program(self) -> Program:
        outputs = [self.values[o.name] for o in self.model.graph.output]
        return Program(
            self.ctx, self.values, outputs, self.providers, self.same, self.premises.signature, self.counter.work
        )

    # Sources

    def graph(self, graph: onnx.GraphProto) -> None:
        for proto in self.model.initializers.values():
            self._initializer(proto)
        for sparse in graph.sparse_initializer:
            self._sparse(sparse)
        for info in self.model.inputs:
            self._input(info)
        for info in self.premises.signature.inputs:
            self._provide(self._sent(info.name))
        for node in graph.node:
            self.node(node)

    def _initializer(self, proto: onnx.TensorProto) -> None:
        tensor = self.ctx.b.initializer(proto)
        self.values[proto.name] = self._constant(proto.name, tensor, tuple(proto.dims))

    def _sparse(self, proto: onnx.SparseTensorProto) -> None:
        """A value that is there like an input: it stays in the document, and is never cut on paper."""
        name, shape = proto.values.name, tuple(proto.dims)
        tensor = self.ctx.b.input(name, shape, proto.values.data_type)
        dims = new_dims(shape)
        self.values[name] = Value(name, dims, tensor.dtype, Array(tensor, dims))

    def _constant(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Value:
        self.counter.constants.add(name)
        dims = new_dims(shape)
        exact = None
        if tensor.dtype in EXACT and prod(shape) <= MAX_ELEMENTS:
            exact = as_content(fold(tensor, self.model.array_of))
        return Value(name, dims, tensor.dtype, Array(tensor, dims), content=exact)

    def _declared(self, name: str) -> tuple[tuple[Extent, ...] | None, int]:
        """Shape and element type of an input, as the original has it."""
        info = self.inputs[name]
        shape = shape_of(info)
        dtype = info.type.tensor_type.elem_type if info.type.HasField("tensor_type") else 0
        if shape is None:
            return None, dtype
        said = [symbol(e or f"{name}.{i}") if not isinstance(e, int) else e for i, e in enumerate(shape)]
        return tuple(rename(e, self.same) for e in said), dtype

    def _sent(self, name: str) -> Tensor:
        return self.ctx.b.input(name, *self._declared(name))

    def _input(self, info: onnx.ValueInfoProto) -> None:
        name = info.name
        shape, dtype = self._declared(name)
        if shape is None:
            self.values[name] = Value(name, None, dtype, Array(self._sent(name), ()))
            return
        dims, written = new_dims(shape), None
        if name in self.premises.tiled and dims and dims[0]:
            kept = self.premises.rows.keep(self.ctx.b, name, dims, dtype, self._sent)
            if kept.array.tensor is not kept.sent:
                self.ctx.origins[kept.array.tensor] = Origin(name, "user", "rows")
            array, written = kept.array, kept.written
            self._provide(kept.sent)
            self.providers.update((s, p) for s, p in kept.providers.items() if s not in self.providers)
        else:
            array = Array(self._sent(name), dims)
            if name in self.premises.items and dims and dims[0]:
                array = replace(array, via=((dims[0][0], IndexMap(None, dims[0][0].extent, item_rows=True)),))
            self._provide(array.tensor)
        because = (f"{name}: {self.premises.reasons[name]}",) if name in self.premises.reasons else ()
        self.values[name] = Value(name, dims, dtype, array, written=written, because=because)

    def _provide(self, tensor: Tensor) -> None:
        """Extents that may be read off an input."""
        for i, extent in enumerate(tensor.known_shape):
            for s in symbols(extent):
                self.providers.setdefault(s, (tensor, i))

    # Nodes

    def node(self, proto: onnx.NodeProto) -> None:
        if proto.op_type == "Constant" and self._constant_node(proto):
            return
        inputs = tuple(self.values[i] if i else None for i in proto.input)
        op = Op(proto, inputs, self.model.opsets.get(proto.domain, 0))
        derivation = self._derive(op)
        results = derivation.values
        check_values(f"{op.op_type} `{op.name}`", results)
        for value in results:
            if value.name:
                claim(self.ctx, value, derivation.rule)
                self.values[value.name] = value.changed(because=self._because(op, value))
        self.counter.node(op, results)

    def _constant_node(self, proto: onnx.NodeProto) -> bool:
        tensor = self.model.constant(proto)
        if tensor is None:
            return False
        source = self.ctx.b.initializer(tensor)
        self.values[proto.output[0]] = self._constant(proto.output[0], source, tuple(tensor.dims))
        return True

    def _derive(self, op: Op) -> _Derivation:
        exact = content(op, self.ctx)
        if exact is not None and all(e is not None for e in exact.flat):
            return _Derivation([self._exact(op, exact)], "shape_values")
        if op.op_type == "If" and (taken := self._branch(op)) is not None:
            return _Derivation(taken, "")
        if op.op_type in ("Scan", "Loop"):
            return self._or_plain(op, self._once(op), "loop_bodies")
        rule = rule_for(op.proto)
        if rule is None or not all(op.inputs[:1]):
            why = Refused(f"no rule for {op.proto.domain or 'ai.onnx'}.{op.op_type}")
            derivation = _Derivation(self._plain(op, why), "")
        else:
            derivation = self._or_plain(op, self._ruled(rule, op), rule.__module__.rpartition(".")[2])
        if exact is not None:
            derivation.values[0] = derivation.values[0].changed(content=exact)
        return derivation

    def _or_plain(self, op: Op, derived: Derived, rule: str) -> _Derivation:
        """What a rule derived; the node as it is where the rule was refused."""
        if isinstance(derived, Refused):
            return _Derivation(self._plain(op, derived), "")
        return _Derivation(derived, rule)

    def _ruled(self, rule: Rule, op: Op) -> Derived:
        """What the rule says; where it breaks, the node is left alone, and the remark says that this is a bug."""
        try:
            return rule(op, self.ctx)
        except InvalidError:
            raise
        except Exception as error:
            bug = f"a bug in mari-onnx: {type(error).__name__}: {error}"
            step = "the node is left as it is; please report this, with the model if you can share it"
            self.ctx.remarks.append(
                Remark("broken", op.op_type, op.proto.name, op.op_type, op.name, bug, next_step=step)
            )
            return Broken(bug, step)

    def _exact(self, op: Op, exact: Content) -> Value:
        dtype = self.inference.dtype(op)
        tensor = self.ctx.b.extents(exact, dtype)
        dims = new_dims(exact.shape)
        return Value(op.name, dims, dtype, Array(tensor, dims), content=exact)

    def _plain(self, op: Op, why: Refused) -> list[Value]:
        """The node as it is, on its inputs as they were."""
        inputs = [None if v is None else self._read(op, i, v) for i, v in enumerate(op.inputs)]
        captured = [(name, plain(self.ctx.b, self.values[name])) for name in captures(op.proto) if name in self.values]
        found = self._inferred(op)
        shapes = [(None if dims is None else extents(dims), dtype) for dims, dtype in found]
        tensors = self.ctx.b.again(op.proto, inputs, shapes, captured)
        # A node that is there already: the extents of its results have names.
        found = [
            (dims if dims is None or t.shape in (None, shape) else new_dims(t.shape), dtype)
            for t, (dims, dtype), (shape, _) in zip(tensors, found, shapes, strict=True)
        ]
        for tensor, (shape, _) in zip(tensors, shapes, strict=True):
            for position, extent in enumerate(shape or ()):
                if not isinstance(extent, int) and (alone := single(extent)):
                    self.providers.setdefault(alone, (tensor, position))
                    if op.op_type == "NonZero":  # at most every element of its input
                        self.ctx.cost.assume(alone, extents(op.data.dims or ()))
        given = [v for v in op.inputs if v is not None]
        if any(self._repeats(v) for v in given) and not isinstance(why, Broken):
            self.ctx.remarks.append(
                Remark("refused", op.op_type, op.proto.name, op.op_type, op.name, why.reason, next_step=why.next_step)
            )
        return [
            Value(name, dims, dtype, Array(tensor, dims or ()))
            for name, tensor, (dims, dtype) in zip(op.proto.output, tensors, found, strict=True)
        ]

    def _read(self, op: Op, i: int, value: Value) -> Tensor:
        """What the node reads: a number as a scalar where onnx wants one, which the branch of an If need not give."""
        tensor, traits = plain(self.ctx.b, value), traits_of(op.op_type, op.proto.domain)
        one = value.dims is not None and all(e == 1 for e in extents(value.dims))
        return self.ctx.b.reshape(tensor, ()) if one and traits and i in traits.scalars else tensor

    def _repeats(self, value: Value) -> bool:
        if value.dims is None or value.constant:
            return False
        return any(value.array.state(a) != "stored" for d in value.dims for a in d if a.extent != 1)

    def _inferred(self, op: Op) -> list[tuple[Dims | None, int]]:
        """Dims and element type of each output."""
        said = [self.inference.output(op, i) for i in range(len(op.proto.output))]
        open_ = any(shape is None or None in shape for shape, _ in said)
        here = types_of_one(op) if open_ else [(None, 0)] * len(said)
        return [
            (self._named(op, i, shape, own), dtype or own_dtype)
            for i, ((shape, dtype), (own, own_dtype)) in enumerate(zip(said, here, strict=True))
        ]

    def _named(self, op: Op, i: int, said: Shape | None, here: Sequence[Extent | None] | None) -> Dims | None:
        """An output of which `said` is told and `here` follows; what neither knows has a name of its own."""
        if said is None and here is None:
            return None
        rank = len(here or ()) if said is None else len(said)
        own = here if here is not None and len(here) == rank else [None] * rank
        named: list[Extent] = []
        for position, (extent, known) in enumerate(zip(said or [None] * rank, own, strict=True)):
            if isinstance(extent, int):
                named.append(extent)
            elif extent in self.providers:
                named.append(rename(symbol(extent), self.same))
            else:
                alone = symbol(f"{op.proto.output[i]}.{position}")
                named.append(rename(alone, self.same) if known is None else known)
        return new_dims(named)

    def _branch(self, op: Op) -> list[Value] | None:
        """An If whose condition is known is the branch that it takes."""
        condition = op.data.content
        if condition is None or condition.size != 1 or condition.item() is None:
            return None
        body = op.attribute("then_branch" if condition.item() else "else_branch")
        if body.sparse_initializer:
            return None
        outer = dict(self.values)
        for tensor in body.initializer:
            self._initializer(tensor)
        for node in body.node:
            self.node(node)
        results = [self.values[o.name] for o in body.output]
        self.values.clear()
        self.values.update(outer)
        return [v.named(name) for v, name in zip(results, op.proto.output, strict=True)]

    def _once(self, op: Op) -> Derived:
        captured = {name: self.values[name] for name in captures(op.proto) if name in self.values}
        if not any(self._repeats(v) for v in (*op.inputs, *captured.values()) if v is not None):
            return Refused(f"no input of {op.op_type} repeats")
        return once(self, op, captured)

    def body(self, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """What a body makes of these inputs. It is not written, and what it has to say is not said."""
        outer, ctx, counter = dict(self.values), self.ctx, self.counter
        apart = {name: deepcopy(getattr(ctx, name)) for name in ("remarks", "proven_equal", "row_selectors")}
        self.ctx, self.counter = replace(ctx, providers=dict(ctx.providers), **apart), counter.apart()
        self.providers = self.ctx.providers
        self.values.update(inputs)
        for tensor in graph.initializer:
            self._initializer(tensor)
        for node in graph.node:
            self.node(node)
        results = [self.values[o.name] for o in graph.output]
        self.values.clear()
        self.values.update(outer)
        self.ctx, self.counter, self.providers = ctx, counter, ctx.providers
        return results

    # Bookkeeping

    def _because(self, op: Op, value: Value) -> tuple[str, ...]:
        """`Gather(table, user_id)`, because `user_id` was declared: kept while a part or all of it lacks candidates."""
        first = next((v for v in op.inputs if v is not None and v.because), None)
        whole = value.parts is None and value.terms is None
        if first is None or value.dims is None or (whole and side(self.ctx, value.array) == "item"):
            return ()
        names = list(op.proto.input) if len(op.proto.input) <= 3 else [first.name, "..."]
        return (f"{op.op_type}({', '.join(names)})", *first.because)[:8]
