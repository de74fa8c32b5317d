"""Interpretation: one walk over the graph that derives the forms of every value.

Each node is visited once, in order. The rule of its operator family derives the forms of its outputs from the forms of
its inputs. There is no pattern matching, no rewriting to a fixpoint, and nothing is written to a model.

    user [1, 4], item [B, 3]      inputs: arrays (4) and (B 3)
    x = Concat(user, item)        rule `concat`: parts [(4), (B 3)], and the array (B 7)
    y = MatMul(x, W)              rule `linear`: terms +(8) +(B 8), and the array (B 8)

A node without a rule, and one whose rule refuses, stays as it is: its inputs are written out in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import onnx
from onnx import TensorProto

from mari_onnx import budget
from mari_onnx.analysis.as_it_is import as_it_is
from mari_onnx.analysis.branches import branch_taken, if_on_one_row
from mari_onnx.analysis.calls import Functions, is_shape, meets
from mari_onnx.analysis.claims import claim
from mari_onnx.analysis.context import Context, Derived, Op, Rule, bounded
from mari_onnx.analysis.counting import Counter
from mari_onnx.analysis.equal_extents import merged
from mari_onnx.analysis.loop_bodies import look_into_bodies, loop_on_one_row
from mari_onnx.analysis.premises import FAILED, NOTHING, Premises
from mari_onnx.analysis.reasons import explained, repeats, varies
from mari_onnx.analysis.remarks import explain_left, explain_whole
from mari_onnx.analysis.rules import rule_for
from mari_onnx.analysis.shape_inference import Inference
from mari_onnx.analysis.shape_values import MAX_ELEMENTS, Content, as_content, content
from mari_onnx.analysis.taken_again import taken_again
from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.document.provenance import Origin
from mari_onnx.document.scopes import captures, reads, reads_of_elements
from mari_onnx.document.signature import AS_IT_WAS, Signature
from mari_onnx.errors import ModelError
from mari_onnx.ir import validate
from mari_onnx.ir.axes import Dims, Refused, UnprovenError, needed_equal, new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import NO_WORK, PRODUCTS, CostModel, Work
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.extents import Extent, rename, symbol, symbols
from mari_onnx.ir.forms import Array, IndexMap, Value
from mari_onnx.report.model import Remark
from mari_onnx.serving.rows import OneRow

WITH_BODIES = {"If": if_on_one_row, "Loop": loop_on_one_row, "Scan": loop_on_one_row}
"""Operators with bodies, and what has them run on one row of the candidates."""

EXACT = frozenset({TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL})
"""Element types of the small constants whose elements shape arithmetic knows."""


@dataclass
class Program:
    """The result of an interpretation.

    `values` are all values of the graph by name, `outputs` those of its outputs. `providers` has, for each symbol, a
    tensor and the position of its dimension with this extent. `same` maps each symbol that was proven equal to another
    to the one that represents both. `signature` is how the written model's inputs and outputs differ from the
    original's. `work` is the work of one call of the original.
    """

    context: Context
    values: dict[str, Value]
    outputs: list[Value]
    providers: dict[str, tuple[Tensor, int]]
    same: Mapping[str, str] = field(default_factory=dict)
    signature: Signature = AS_IT_WAS
    work: Work = NO_WORK


def interpret(model: Model, premises: Premises, cost: CostModel) -> Program:
    """Walk the graph, and repeat the walk as long as it proves that two more symbols are equal."""
    same = merged({}, premises.equal, cost.reference)
    while True:
        walk = _Walk(model, premises, cost, same)
        for node in model.graph.node:
            walk.node(node)
        if walk.is_settled():
            return walk.program()
        same, found = walk.equal(), walk.ctx.found_long_enough
        premises = replace(premises, long_enough=premises.long_enough | found)


def equal_symbols(model: Model, cost: CostModel, enough: Callable[[Mapping[str, str]], bool]) -> Mapping[str, str]:
    """The symbols of axes that are equal without any premises, as a map from each to the representative of its class.

    The walk goes no further than to the node at which those that were found are `enough`.
    """
    same: Mapping[str, str] = {}
    while True:
        walk = _Walk(model, NOTHING, cost, same)
        for node in model.graph.node:
            walk.node(node)
            if walk.ctx.found_equal and enough(walk.equal()):
                break
        if (found := walk.equal()) == same or enough(found):
            return found
        same = found


@dataclass(frozen=True)
class Broken(Refused):
    """The rule raised an error, which is a bug in mari-onnx."""


@dataclass(frozen=True)
class _Derivation:
    """The outputs of a node, and the family of the rule that derived them; "" for a node that is `left` as it is."""

    values: list[Value]
    rule: str
    left: Refused | None = None


class _Walk:
    """One walk. `same` maps each symbol to the one that represents all that are equal to it."""

    def __init__(self, model: Model, premises: Premises, cost: CostModel, same: Mapping[str, str]) -> None:
        self.model, self.premises, self.same = model, premises, same
        self.inputs = {info.name: info for info in (*model.inputs, *premises.signature.inputs)}
        candidates = frozenset(same.get(c, c) for c in premises.candidates)
        of_outputs = frozenset(symbol(same.get(s, s)) for s in model.output_symbols)
        self.read_counts = model.uses.copy()
        self.ctx = Context(
            Builder(candidates, cuts_at_symbols=premises.cuts_at_symbols), cost, model.array_of, model.opset,
            read_counts=self.read_counts, output_extents=of_outputs,
            repeated=frozenset(same.get(s, s) for s in premises.repeated), long_enough=premises.long_enough,
            sent_once=isinstance(premises.rows, OneRow), computes_all_rows=premises.computes_all_rows,
            taken_again=taken_again(model.graph, model.initializers), assume_masked=premises.assume_masked,
        )  # fmt: skip
        self.counter = Counter(replace(cost, emphasis=0.0), candidates)
        self.values: dict[str, Value] = {}
        self.providers = self.ctx.providers
        self.inference, self.functions = Inference(model), Functions(model)
        self.budget = budget.current()
        self._begin()

    def program(self) -> Program:
        """The result of the walk."""
        outputs = [self.values[name] for name in dict.fromkeys(o.name for o in self.model.graph.output)]
        return Program(
            self.ctx, self.values, outputs, self.providers, self.same, self.premises.signature, self.counter.work
        )

    # Inputs and constants

    def _begin(self) -> None:
        """Take the constants and the inputs."""
        for proto in self.model.initializers.values():
            self._initializer(proto)
        for sparse in self.model.graph.sparse_initializer:
            self._sparse(sparse)
        for info in self.model.inputs:
            self._input(info)
        for info in self.premises.signature.inputs:
            self._provide_extents(self._input_tensor(info.name))

    def equal(self) -> dict[str, str]:
        """The map `same`, extended by what was found since."""
        return merged(self.same, self.ctx.found_equal, self.ctx.cost.reference)

    def _initializer(self, proto: onnx.TensorProto) -> None:
        self.values[proto.name] = self._constant(proto.name, self.ctx.b.initializer(proto), tuple(proto.dims))

    def _sparse(self, proto: onnx.SparseTensorProto) -> None:
        """A sparse constant is treated like an input: it stays in the document, and its elements are not read."""
        name, shape = proto.values.name, tuple(proto.dims)
        tensor = self.ctx.b.input(name, shape, proto.values.data_type)
        dims = new_dims(shape)
        self.values[name] = Value(name, dims, tensor.dtype, Array(tensor, dims))

    def _constant(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Value:
        """The value of a stored tensor, with its elements if it is small."""
        self.counter.constants.add(name)
        dims = new_dims(shape)
        exact = None
        if tensor.dtype in EXACT and prod(shape) <= MAX_ELEMENTS:
            exact = as_content(fold(tensor, self.model.array_of))
        return Value(name, dims, tensor.dtype, Array(tensor, dims), content=exact)

    def _declared(self, name: str) -> tuple[tuple[Extent, ...] | None, int]:
        """Shape and element type of an input as the original declares it. A dimension without a name gets a symbol."""
        info = self.inputs[name]
        shape = shape_of(info)
        dtype = info.type.tensor_type.elem_type if info.type.HasField("tensor_type") else 0
        if shape is None:
            return None, dtype
        stated = self.model.axis_symbol
        named = [e if isinstance(e, int) else symbol(stated(name, i, e)) for i, e in enumerate(shape)]
        return tuple(rename(e, self.same) for e in named), dtype

    def _input_tensor(self, name: str) -> Tensor:
        """The tensor of an input as the original takes it."""
        return self.ctx.b.input(name, *self._declared(name))

    def _input(self, info: onnx.ValueInfoProto) -> None:
        name = info.name
        shape, dtype = self._declared(name)
        if shape is None:
            self.values[name] = Value(name, None, dtype, Array(self._input_tensor(name), ()))
            return
        dims, written = new_dims(shape), None
        if name in self.premises.tiled and dims and dims[0]:
            array, written = self._tiled_input(name, dims, dtype)
        else:
            array = self._untiled_input(name, dims)
        because = (f"{name}: {self.premises.reasons[name]}",) if name in self.premises.reasons else ()
        self.values[name] = Value(name, dims, dtype, array, written=written, because=because)

    def _tiled_input(self, name: str, dims: Dims, dtype: int) -> tuple[Array, Array | None]:
        """The rows that are kept of a tiled input, and all rows if the caller sends them."""
        kept = self.premises.rows.keep(self.ctx.b, name, dims, dtype, self._input_tensor)
        if kept.array.tensor is not kept.sent:
            self.ctx.origins[kept.array.tensor] = Origin(name, "user", "rows")
        self._provide_extents(kept.sent)
        self.providers.update((s, p) for s, p in kept.providers.items() if s not in self.providers)
        return kept.array, kept.written

    def _untiled_input(self, name: str, dims: Dims) -> Array:
        """The array of an input that is sent as the original takes it; an input of the items is marked as one."""
        array = Array(self._input_tensor(name), dims)
        if name in self.premises.items and dims and dims[0]:
            array = replace(array, via=((dims[0][0], IndexMap(None, dims[0][0].extent, item_rows=True)),))
        self._provide_extents(array.tensor)
        return array

    def _provide_extents(self, tensor: Tensor) -> None:
        """Note that symbols can be read from the shape of an input."""
        for i, extent in enumerate(tensor.known_shape):
            for s in symbols(extent):
                self.providers.setdefault(s, (tensor, i))

    # Nodes

    def node(self, proto: onnx.NodeProto) -> None:
        """Derive the values of a node's outputs, name their tensors, and count the node's work."""
        self.budget.check(lambda: f"{proto.op_type} `{next(iter(proto.output), '')}` was analysed")
        if not proto.output or (proto.op_type == "Constant" and self._constant_node(proto)):
            return  # an LSTM may leave out all its outputs
        inputs = tuple(self.values[i] if i else None for i in proto.input)
        op = Op(proto, inputs, self.model.opsets.get(proto.domain, 0))
        if (results := self._in_place(op)) is not None:
            self.values.update((value.name, value) for value in results)
            return
        said, derivation = len(self.ctx.remarks), self._derive(op)
        results = derivation.values
        if validate.ENABLED and self.is_settled():
            validate.check_values(f"{op.op_type} `{op.name}`", results)
        given = self._read(op)
        for value in results:
            if value.name:
                claim(self.ctx, value, derivation.rule)
                self.values[value.name] = explained(self.ctx, op, given, value, derivation.left)
        if op.op_type in PRODUCTS and len(self.ctx.remarks) == said:
            lost = any(map(repeats, given)) or varies(self.ctx, results[0])
            explain_whole(op, self.ctx, results[0], derivation.left if lost else None)
        self.counter.node(op, results)

    def is_settled(self) -> bool:
        """Whether all symbols that were proved equal have one name; where they have not, the graph is walked again.

        Until then, a Slice of Concat(x, y) is one of x, whose first extent has another name than the Concat's.
        """
        return self.equal() == self.same and self.ctx.found_long_enough <= self.ctx.long_enough

    def _constant_node(self, proto: onnx.NodeProto) -> bool:
        """Take the output of a Constant node as a constant; False if the node holds no tensor."""
        tensor = self.model.constant(proto)
        if tensor is None:
            return False
        source = self.ctx.b.initializer(tensor)
        self.values[proto.output[0]] = self._constant(proto.output[0], source, tuple(tensor.dims))
        return True

    def _derive(self, op: Op) -> _Derivation:
        """The outputs by the first way that applies: shape arithmetic, a loop, a rule, or unchanged."""
        elements = content(op, self.ctx)
        if elements is not None and all(e is not None for e in elements.flat):
            return _Derivation([self._shape_value(op, elements)], "shape_values")
        if not self.premises.whole.isdisjoint(op.proto.output):
            return self._or_unchanged(op, FAILED, "")
        if op.op_type in WITH_BODIES and op.proto.domain in ("", "ai.onnx"):
            on_one_row, captured = WITH_BODIES[op.op_type], self._captured(op)
            if self.inference.claimed:
                look_into_bodies(self, op, captured)
            derived = on_one_row(self, op, captured)
            return self._or_unchanged(op, derived, on_one_row.__module__.rpartition(".")[2])
        derivation = self._by_rule(op)
        if elements is not None:
            derivation.values[0] = derivation.values[0].changed(content=elements)
        return derivation

    def _by_rule(self, op: Op) -> _Derivation:
        """The outputs by the rule of the operator's family; the unchanged node if there is none."""
        rule = rule_for(op.proto)
        if rule is None or not all(op.inputs[:1]):
            called = self.functions.body(op, self.values)
            why = called if isinstance(called, Refused) else Refused(f"the function {op.op_type} reads one side alone")
            return _Derivation(self._unchanged(op, why), "", why)
        return self._or_unchanged(op, self._applied(rule, op), rule.__module__.rpartition(".")[2])

    def _or_unchanged(self, op: Op, derived: Derived, rule: str) -> _Derivation:
        """The values that a rule derived; the unchanged node if the rule refused."""
        if isinstance(derived, Refused):
            return _Derivation(self._unchanged(op, derived), "", derived)
        return _Derivation(derived, rule)

    def _applied(self, rule: Rule, op: Op) -> Derived:
        """The result of the rule. A rule that raises an error counts as refused, with a remark that this is a bug."""
        try:
            return bounded(rule(op, self.ctx))
        except validate.InvalidError:
            raise
        except ModelError as unreadable:
            return Refused(unreadable.message)
        except UnprovenError as need:
            self.ctx.needed_equal += need.pairs
            return Refused(f"{need} are not known to be equal")
        except Exception as error:
            bug = f"a bug in mari-onnx: {type(error).__name__}: {error}"
            step = "the node is left as it is; please report this, with the model if you can share it"
            remark = Remark("broken", op.op_type, op.proto.name, op.op_type, op.name, bug, next_step=step)
            self.ctx.remarks.append(remark)
            return Broken(bug, step)

    def _shape_value(self, op: Op, elements: Content) -> Value:
        """The output of shape arithmetic whose elements are all known."""
        dtype, dims = self.inference.dtype(op), new_dims(elements.shape)
        return Value(op.name, dims, dtype, Array(self.ctx.b.extents(elements, dtype), dims), content=elements)

    def _unchanged(self, op: Op, why: Refused) -> list[Value]:
        """The outputs of the original node on its original inputs, each with an array as its only form."""
        if any(map(repeats, self._read(op))) and not isinstance(why, Broken) and op.op_type not in PRODUCTS:
            explain_left(op, self.ctx, why)
        types = self.inference.output_types(op, self.providers, self.same)
        return as_it_is(op, self.ctx, self._captured(op), types)

    # Bodies and functions

    def _in_place(self, op: Op) -> list[Value] | None:
        """The outputs of the nodes that stand for a node: the branch that an If takes, or the body of a function.

        None for every other node, for a condition that is not known, and for a call that stays a call.
        """
        if op.op_type == "If" and (branch := branch_taken(op)) is not None:
            return self._outputs_of(branch, {}, op.proto.output)
        if not self.functions.by_key or isinstance(body := self.functions.body(op, self.values), Refused):
            return None
        if not meets(self.ctx, op) and not all(map(is_shape, self.body(body, {}))):
            return None
        return self.in_place(op, body, {})

    def in_place(self, op: Op, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """The outputs of the nodes of a graph, which stand for a node."""
        self.read_counts.update(name for node in graph.node for name in reads_of_elements(node))
        self.read_counts.subtract(reads(op.proto))
        return self._outputs_of(graph, inputs)

    def _captured(self, op: Op) -> dict[str, Value]:
        """The values that the node's bodies read by name."""
        return {name: self.values[name] for name in captures(op.proto) if name in self.values}

    def _read(self, op: Op) -> list[Value]:
        """All values that the node reads: its inputs, and what its bodies capture."""
        return [*(v for v in op.inputs if v is not None), *self._captured(op).values()]

    def body(self, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """The outputs of a body with these inputs. Remarks, findings and work of the body's nodes are dropped."""
        ctx, counter = self.ctx, self.counter
        self.ctx = ctx.in_a_body()
        self.counter = counter.apart()
        self.providers = self.ctx.providers
        results = self._outputs_of(graph, inputs)
        for pair in self.ctx.proven_equal[len(ctx.proven_equal) :]:
            ctx.needed_equal += needed_equal(*pair)
        self.ctx, self.counter, self.providers = ctx, counter, ctx.providers
        return results

    def _outputs_of(
        self, graph: onnx.GraphProto, inputs: Mapping[str, Value], names: Sequence[str] | None = None
    ) -> list[Value]:
        """Interpret the nodes of a body. Its names are forgotten; its outputs are called by `names`, if given."""
        outer = dict(self.values)
        self.values.update(inputs)
        for tensor in graph.initializer:
            self._initializer(tensor)
        for node in graph.node:
            self.node(node)
        results = [self.values[o.name] for o in graph.output]
        self.values.clear()
        self.values.update(outer)
        return results if names is None else [v.named(name) for v, name in zip(results, names, strict=True)]
