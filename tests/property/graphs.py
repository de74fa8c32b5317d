"""Random ranking graphs whose every result is exact in float32.

A `Writer` keeps what it has written so far with shapes, as extents, and bounds on the elements. Elements are small
integers, so that every sum and product is exact whatever the order in which it is computed. What cannot be exact
(Softmax, GRU) is marked, and everything that depends on it, and is compared with a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, printer

from mari_onnx.ir.extents import Extent, Poly, evaluate, product, symbol
from mari_onnx.ir.operators import CLASSICAL, OPERATORS, traits_of
from tests.property.evaluate import loads, session
from tests.runtime import NEWEST_OPSET

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

LOCAL = "local"
"""The domain of a function that the model defines."""

FUSED = "com.microsoft"
"""The domain of what runtimes fuse."""

B, R, L = symbol("B"), symbol("R"), symbol("L")
LARGEST = {"B": 7, "R": 7, "L": 7}
"""No extent is larger than this in any run; bounds on sums follow from it."""

EXACT, EXACT_HALF = 2**22, 2**9
"""Bounds on elements under which every sum is exact, with room for what cancels on the way."""
ELEMENTS = 20_000
OPSETS = tuple(range(11, NEWEST_OPSET + 1))
"""From the oldest that is supported to the newest that onnxruntime runs."""


class UnfitError(Exception):
    """Nothing written so far fits the operator that was chosen."""


@dataclass(frozen=True)
class Made:
    """A tensor of the graph; its elements lie in [low, high]."""

    name: str
    shape: tuple[Extent, ...]
    dtype: int = FLOAT
    low: int = 0
    high: int = 0
    exact: bool = True
    constant: bool = False

    @property
    def is_index(self) -> bool:
        """Whether this is the index that selects a request for each candidate."""
        return self.name in ("index", "index0", "index1", "index2")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Source:
    """A graph input: its true extents, and whether the caller repeats one row."""

    made: Made
    tiled: bool = False


@dataclass(frozen=True)
class Case:
    """A model, the inputs that are declared as the user's, and what to feed it."""

    model: onnx.ModelProto
    sources: tuple[Source, ...]
    declared: tuple[str, ...]
    shapes: Mapping[str, tuple[Extent, ...]]
    inexact: frozenset[str]
    batch: int

    def runs_empty(self) -> bool:
        """Whether a graph can be written that does the same without candidates.

        An extreme of nothing is an error, but not where there is nothing to show it for: candidates against candidates.
        Before opset 14 a 0 in the target of a Reshape copies an extent, and which of several are 0 cannot be said.
        """
        twice = any(m[:2] == ("B", "B") for shape in self.shapes.values() for m, _ in _monomials(product(shape)))
        inner = any("B" in str(extent) for shape in self.shapes.values() for extent in shape[1:])
        requests = any(s.made.shape[:1] == (R,) for s in self.sources)
        return not twice and (self.model.opset_import[0].version >= 14 or not (inner and requests))

    def as_meant(self, name: str, found: Sequence[int], sizes: Mapping[str, int]) -> bool:
        """Whether a tensor has the shape that the writer gave it: a target of [0, ...] may copy another extent."""
        meant = self.shapes.get(name)
        return meant is None or [evaluate(e, sizes, 0) for e in meant] == list(found)

    def feeds(self, sizes: Mapping[str, int], seed: int = 0) -> dict[str, npt.NDArray[Any]]:
        """Inputs of these sizes; `R` bounds every index of requests, as a legal call's do."""
        rng = np.random.default_rng(seed)
        out: dict[str, npt.NDArray[Any]] = {}
        for source in self.sources:
            made = source.made
            shape = [evaluate(e, sizes, 0) for e in made.shape]
            high = sizes["R"] - 1 if made.is_index else made.high
            drawn = rng.integers(made.low, high + 1, shape)
            if source.tiled:
                drawn = np.repeat(rng.integers(made.low, high + 1, [1, *shape[1:]]), shape[0], axis=0)
            out[made.name] = drawn.astype(helper.tensor_dtype_to_np_dtype(made.dtype))
        return out

    def padded(self, sizes: Mapping[str, int], seed: int = 0) -> dict[str, npt.NDArray[Any]] | None:
        """The same with anything in the rows that no candidate refers to; None where there are no such rows."""
        out, rng = self.feeds(sizes, seed), np.random.default_rng(seed)
        indices = [out[s.made.name] for s in self.sources if s.made.is_index]
        nobody = np.setdiff1d(np.arange(sizes["R"]), np.concatenate(indices)).tolist() if indices else []
        found = False
        for source in self.sources:
            made, rows = source.made, [0] if sizes["B"] == 0 else nobody
            if made.shape[:1] != ((1,) if sizes["B"] == 0 else (R,)):
                continue
            # No large finite number: its sums with others are rounded, and the order in which they are added shows.
            anything = [np.nan, np.inf, -np.inf] if made.dtype in (FLOAT, TensorProto.FLOAT16) else [-(2**31), 10**9, 0]
            for row in rows:
                out[made.name][row] = rng.choice(anything, out[made.name].shape[1:])
                found = True
        return out if found else None

    @cached_property
    def operators(self) -> set[str]:
        return {n.op_type for n in self.model.graph.node}

    def runs(self, batch: int, crashing: frozenset[str]) -> bool:
        """Whether onnxruntime survives the original; `crashing` operators do not survive tensors without elements."""
        empty = batch == 0 or any(0 in shape for shape in self.shapes.values())
        return not (empty and self.operators & crashing) and (batch > 0 or self.runs_empty())

    def __repr__(self) -> str:
        return f"\n{printer.to_text(self.model)}\nuser inputs: {list(self.declared)}, batch: {self.batch}\n"


def _monomials(extent: Extent) -> Sequence[tuple[tuple[str, ...], int]]:
    return extent.terms if isinstance(extent, Poly) else ()


@dataclass
class Writer:
    """A graph that is being written."""

    random: Random
    opset: int
    half: bool = False
    functions: bool = False
    made: list[Made] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    infos: list[onnx.ValueInfoProto] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    count: int = 0
    labels: int = 0
    labelled: set[str] = field(default_factory=set)
    inexact: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    wanted: Made | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def exact(self) -> int:
        """What no number may exceed. Graphs in half precision are written in float32, and lowered in the end."""
        return EXACT_HALF if self.half else EXACT

    # Choices

    def chance(self, percent: int) -> bool:
        return self.random.randint(0, 99) >= 100 - percent

    def between(self, low: int, high: int) -> int:
        if high < low:  # a place of a dimension that has none
            raise UnfitError
        return self.random.randint(low, high)

    def choice(self, options: Sequence[Any]) -> Any:
        if not options:
            raise UnfitError
        return options[self.random.randint(0, len(options) - 1)]

    def pick(self, fits: Callable[[Made], bool] = lambda made: True, *, rough: bool = False) -> Made:
        """One of the tensors that fit, rather a late one; `rough` allows those that are not exact.

        The one that is `wanted` comes first.
        """
        options = [m for m in self.made if ((rough and not self.half) or m.exact) and fits(m)]
        if self.wanted in options and self.chance(80):
            return self.wanted
        kind = self.between(0, 9)
        made: Made = self.choice(options[-1:] if kind <= 1 else options[-6:] if kind <= 6 else options)
        return made

    def floats(self, rank: int = 0, *, rough: bool = True) -> Made:
        return self.pick(lambda m: m.dtype == FLOAT and m.rank >= rank, rough=rough)

    # Writing

    def name(self) -> str:
        """Fresh, though perhaps one that the optimizer would like to have for itself."""
        self.count += 1
        if self.made and self.chance(4):
            wanted = str(self.choice(self.made).name + self.choice([".user", ".item", ".same", ".part", ".expand"]))
            if wanted not in self.claimed:
                self.claimed.add(wanted)
                return wanted
        return f"t{self.count}"

    def label(self, op_type: str) -> str:
        """The name of a node: none, one of an exporter's, or one that a tensor has."""
        self.labels += 1
        kind = self.between(0, 19)
        if kind <= 11:
            return ""
        taken = self.made[-1].name if self.made and kind == 19 else ""
        if taken and taken not in self.labelled:
            self.labelled.add(taken)
            return taken
        return f"/layer/{op_type}_{self.labels}"

    def constant(self, array: npt.NDArray[Any]) -> Made:
        name = f"c{len(self.initializers) + len(self.nodes)}"
        tensor = numpy_helper.from_array(array, name)
        if self.chance(15) and (self.opset >= 9 or array.dtype == np.float32):
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.initializers.append(tensor)
        finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array  # a mask may be of -inf
        low, high = (int(finite.min()), int(finite.max())) if finite.size else (0, 0)
        return Made(name, tuple(array.shape), helper.np_dtype_to_tensor_dtype(array.dtype), low, high, constant=True)

    def numbers(self, shape: Sequence[int], low: int = -2, high: int = 2) -> Made:
        """A constant of random small integers, as float."""
        elements = [self.between(low, high) for _ in range(int(np.prod(shape)))]
        return self.constant(np.array(elements, np.float32).reshape(shape))

    def ints(self, values: Sequence[int]) -> Made:
        return self.constant(np.array(values, np.int64))

    def write(
        self,
        op_type: str,
        inputs: Sequence[Made | None],
        shape: Sequence[Extent],
        bounds: tuple[int, int],
        dtype: int | None = None,
        *,
        exact: bool = True,
        **attributes: Any,
    ) -> Made:
        """A node with one output."""
        return self.write_all(op_type, inputs, [(shape, bounds, dtype)], exact=exact, **attributes)[0]

    def write_all(
        self,
        op_type: str,
        inputs: Sequence[Made | None],
        outputs: Sequence[tuple[Sequence[Extent], tuple[int, int], int | None]],
        *,
        exact: bool = True,
        **attributes: Any,
    ) -> list[Made]:
        traits = traits_of(op_type, attributes.get("domain", ""))
        assert traits is None or traits.least <= len(inputs) <= traits.most, (op_type, len(inputs))
        given = [m for m in inputs if m is not None]
        self.require(op_type, given, attributes)
        exact = exact and all(m.exact for m in given)
        results = []
        for shape, (low, high), dtype in outputs:
            dtype = given[0].dtype if dtype is None else dtype
            limit = self.exact if exact and dtype == FLOAT else EXACT
            if max(-low, high) > limit or evaluate(product(shape), LARGEST, 7) > ELEMENTS or len(shape) > 5:
                raise UnfitError
            results.append(Made(self.name(), tuple(shape), dtype, low, high, exact))
        names = ["" if m is None else m.name for m in inputs]
        self.nodes.append(
            helper.make_node(op_type, names, [m.name for m in results], self.label(op_type), **attributes)
        )
        self.made.extend(results)
        self.inexact.update(m.name for m in results if not m.exact)
        return results

    def require(self, op_type: str, given: Sequence[Made], attributes: Mapping[str, Any]) -> None:
        """Raise UnfitError where an older opset has no such node."""
        if self.opset >= OPSETS[0]:
            return
        try:
            schema = onnx.defs.get_schema(op_type, self.opset)
        except onnx.defs.SchemaError:
            raise UnfitError from None
        types = {each.type_param_str: each.allowed_type_strs for each in schema.type_constraints}
        wanted = [schema.inputs[min(i, len(schema.inputs) - 1)].type_str for i in range(len(given))]
        taken = (types.get(of, [of]) for of in wanted)
        named = (f"tensor({TensorProto.DataType.Name(m.dtype).lower()})" for m in given)
        fits = (
            schema.min_input <= len(given) <= schema.max_input
            and attributes.keys() - {"domain"} <= schema.attributes.keys()
        )
        alike = len({m.shape for m in given}) == 1 or self.opset >= 8 or op_type not in ("Max", "Mean", "Min", "Sum")
        if not (fits and alike and all(name in some for name, some in zip(named, taken, strict=True))):
            raise UnfitError

    def hidden(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node whose result no other operator is offered: its extents are not known in advance."""
        if self.opset < OPSETS[0]:
            raise UnfitError
        name = self.name()
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def axes_form(self, op_type: str, axes: Sequence[int]) -> tuple[list[Made], dict[str, Any]]:
        """Axes as the operator takes them in this opset: as an input, or as an attribute."""
        if self.opset >= OPERATORS[op_type].axes_input_from:
            return [self.ints(axes)], {}
        return [], {"axes": list(axes)}

    # Shapes, as exporters write them

    def shape_chain(self, shape: Sequence[Extent], *, may_infer: bool = False) -> Made:
        """A 1-D tensor of the extents, those that are symbols read off tensors that have them."""
        pieces = [self.extent(extent) if isinstance(extent, Poly) else self.ints([extent]) for extent in shape]
        if len(pieces) == 1:
            return pieces[0]
        chain = self.write("Concat", pieces, [len(pieces)], (-1, EXACT), INT64, axis=0)
        if not may_infer and self.chance(20):  # TorchScript's expand: -1 where nothing is to change
            ones = self.write(
                "ConstantOfShape",
                [self.ints([len(pieces)])],
                [len(pieces)],
                (1, 1),
                INT64,
                value=numpy_helper.from_array(np.array([1], np.int64)),
            )
            minus = self.write("Mul", [ones, self.constant(np.array(-1, np.int64))], [len(pieces)], (-1, -1), INT64)
            equal = self.write("Equal", [chain, minus], [len(pieces)], (0, 1), BOOL)
            chain = self.write("Where", [equal, ones, chain], [len(pieces)], (-1, EXACT), INT64)
        return chain

    def extent(self, extent: Poly) -> Made:
        """A tensor of shape [1] that holds the extent."""
        having = [(m, i) for m in self.made for i, e in enumerate(m.shape) if e == extent]
        if not having:
            if len(extent.terms) != 1 or len(extent.terms[0][0]) < 2:
                raise UnfitError
            (monomial, coefficient) = extent.terms[0]
            total = self.ints([coefficient])
            for s in monomial:
                total = self.write("Mul", [total, self.extent(symbol(s))], [1], (0, EXACT), INT64)
            return total
        made, axis = self.choice(having)
        if self.opset >= 15 and self.chance(50):
            return self.write("Shape", [made], [1], (0, EXACT), INT64, start=axis, end=axis + 1)
        whole = self.write("Shape", [made], [made.rank], (0, EXACT), INT64)
        if self.chance(50):
            return self.write("Slice", [whole, self.ints([axis]), self.ints([axis + 1])], [1], (0, EXACT), INT64)
        if self.chance(50):
            return self.write("Gather", [whole, self.ints([axis])], [1], (0, EXACT), INT64, axis=0)
        scalar = self.write("Gather", [whole, self.constant(np.array(axis, np.int64))], [], (0, EXACT), INT64, axis=0)
        inputs, attributes = self.axes_form("Unsqueeze", [0])
        return self.write("Unsqueeze", [scalar, *inputs], [1], (0, EXACT), INT64, **attributes)

    # Inputs

    def input(
        self, name: str, shape: Sequence[Extent], dtype: int, low: int, high: int, *, tiled: bool = False
    ) -> Made:
        """A graph input; now and then its symbol goes unsaid, or has a name of its own, as exporters have it."""
        made = Made(name, tuple(shape), dtype, low, high)
        own = 0 if made.is_index else self.between(0, 9)
        said: list[int | str | None] = []
        for extent in shape:
            if not isinstance(extent, Poly):
                said.append(extent)
            elif own == 9:
                said.append(None)
            else:
                said.append(f"{extent}_{name}" if own == 8 or (tiled and own >= 5) else self.said(extent))
        self.infos.append(helper.make_tensor_value_info(name, dtype, said))
        self.made.append(made)
        self.sources.append(Source(made, tiled))
        return made

    def said(self, extent: Extent) -> str:
        """What the model calls an extent: scripts give one name to the candidates and to the length of a history."""
        return self.names.get(str(extent), str(extent))

    def described(self, symbol: str) -> str | None:
        """What the description of a value calls an extent: no name that inputs have for another extent alone."""
        if symbol not in LARGEST:
            return None
        name = self.names.get(symbol, symbol)
        of_name = {
            str(extent)
            for source, info in zip(self.sources, self.infos, strict=False)
            for extent, dim in zip(source.made.shape, info.type.tensor_type.shape.dim, strict=True)
            if dim.dim_param == name
        }
        return name if symbol in of_name or (not of_name and name == symbol) else None

    def write_inputs(self) -> None:
        if self.chance(8):
            self.names = self.choice([{"L": "B"}, {"L": "R"}, {"L": "B", "R": "B"}, dict.fromkeys("BRL", "?")])
        tails: list[tuple[Extent, ...]] = [(4,), (2,), (3,), (2, 3), (4, 2), (L, 2), (L, 4), (), (1,), (1, 4), (4, 1)]
        for i in range(self.between(1, 2)):
            self._input(f"item{i}", (B,), self.choice(tails))
        for i in range(self.between(1, 3)):
            kind, tail = self.between(0, 9), self.choice(tails)
            if kind <= 2:
                self._input(f"user{i}", (1,), tail)
            elif kind <= 5:
                self._input(f"user{i}", (B,), tail, tiled=True)
            elif kind <= 8:
                self._input(f"user{i}", (R,), tail)
                if self.chance(80) or not any(m.is_index for m in self.made):
                    self.input(f"index{i}", (B,), INT64, 0, 0)
            else:
                self._input(f"context{i}", (), tail or (3,))
        if self.chance(6):  # an initializer that is an input as well: a default, which the caller need not take
            default = Made("default", (4,), FLOAT, -3, 3)
            self.initializers.append(numpy_helper.from_array(np.ones(4, np.float32), default.name))
            self.infos.append(helper.make_tensor_value_info(default.name, FLOAT, [4]))
            self.made.append(default)
            self.sources.append(Source(default))

    def _input(self, name: str, lead: tuple[Extent, ...], tail: tuple[Extent, ...], *, tiled: bool = False) -> None:
        if self.chance(30):
            self.input(name, (*lead, *tail), INT64, 0, 4, tiled=tiled)
        else:
            self.input(name, (*lead, *tail), FLOAT, -3, 3, tiled=tiled)


def write_case(random: Random) -> Case:
    """One random graph with what to feed it."""
    w = Writer(random, OPSETS[random.randint(0, len(OPSETS) - 1)], half=random.randint(0, 9) == 9)
    case = _case(w)
    if not w.chance(10):
        return case
    older = Writer(random, w.choice(OLDER))
    other = _case(older)
    try:
        onnx.checker.check_model(other.model, full_check=True)
    except Exception:  # an axis that is counted from the end, as a few operators take it later
        return case
    return as_inputs(other) if older.chance(30) else other


def _case(w: Writer) -> Case:
    """A random graph, written here from its inputs on."""
    from tests.property.apart import APART
    from tests.property.fused import FUSIONS
    from tests.property.operators import MAKERS  # which are written in terms of a Writer
    from tests.property.ranking import BLOCKS

    w.write_inputs()
    inputs = len(w.made)
    makers = [
        make
        for make, weight in (*MAKERS.items(), *BLOCKS.items(), *FUSIONS.items(), *APART.items())
        for _ in range(weight)
    ]
    for _ in range(w.between(1, 14) if w.chance(85) else w.between(15, 40)):
        for _ in range(4):
            try:
                w.choice(makers)(w)
                break
            except UnfitError:
                continue
    written = w.made[inputs:]
    if not written:
        w.write("Identity", [w.made[0]], w.made[0].shape, (w.made[0].low, w.made[0].high))
        written = w.made[inputs:]
    outputs = {m.name: m for m in [written[-1], *(w.choice(written) for _ in range(w.between(0, 2)))]}
    if w.chance(5):
        outputs[w.made[0].name] = w.made[0]
    once = [m for m in written if not any("B" in str(e) for e in m.shape)]
    if once and w.chance(10):
        of_request = w.choice(once)
        outputs[of_request.name] = of_request
    if w.chance(3):
        constant = w.numbers([2, 3])
        outputs[constant.name] = constant
    numbers = {m.name: [e if isinstance(e, int) else None for e in m.shape] for m in outputs.values()}
    infos = [helper.make_tensor_value_info(m.name, m.dtype, numbers[m.name]) for m in outputs.values()]
    graph = helper.make_graph(w.nodes, "random", w.infos, infos, w.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", w.opset)], ir_version=10)
    dress(w, model)
    sources = w.sources
    if w.half and (half := lowered_model(model)) is not None:
        model = half
        sources = [replace(s, made=replace(s.made, dtype=lowered(s.made.dtype))) for s in sources]
    declared = [s.made.name for s in w.sources if s.tiled]
    declared += [s.made.name for s in w.sources if s.made.shape[:1] == (1,) and w.chance(20)]
    batch = w.choice([500, 10**6, 2])
    if w.half:
        shapes = {m.name: m.shape for m in w.made}
        return Case(model, tuple(sources), tuple(declared), shapes, frozenset(w.inexact), batch)
    declared += write_later(w, model)
    shapes = {m.name: m.shape for m in w.made}
    return Case(model, tuple(w.sources), tuple(declared), shapes, frozenset(w.inexact), batch)


def write_later(w: Writer, model: onnx.ModelProto) -> list[str]:
    """More nodes behind those of a graph that is written, and their last result as one more output.

    Gives the inputs that are new and are declared as the user's.
    """
    from tests.property.operators import LATER, MAKERS, bodies

    if w.chance(50):
        return []
    nodes, initializers, infos, before, inputs = (len(x) for x in (w.nodes, w.initializers, w.infos, w.made, w.sources))
    later = [make for make, weight in LATER.items() for _ in range(weight)]
    others = [make for make, weight in MAKERS.items() for _ in range(weight) if make is not bodies.local_function]
    for _ in range(w.between(1, 8)):
        with suppress(UnfitError):
            w.choice(later if w.chance(50) else others)(w)
    graph = model.graph
    graph.node.extend(w.nodes[nodes:])
    import_domains(model)
    graph.initializer.extend(w.initializers[initializers:])
    graph.input.extend(w.infos[infos:])
    computed = {name for node in w.nodes[nodes:] for name in node.output}
    made = [m for m in w.made[before:] if m.name in computed]
    for m in dict.fromkeys([*made[-1:], *([w.choice(made)] if made else [])]):
        numbers = [e if isinstance(e, int) else None for e in m.shape]
        graph.output.append(helper.make_tensor_value_info(m.name, m.dtype, numbers))
    return [s.made.name for s in w.sources[inputs:] if s.tiled]


OLDER = range(7, OPSETS[0])
"""Opsets in which operators take as attributes what newer ones take as inputs: what does not fit them is left out."""


def as_inputs(case: Case) -> Case:
    """The case in IR version 3, in which every initializer is an input that the caller does not feed."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    given = {i.name for i in model.graph.input}
    if any(t.name in given for t in model.graph.initializer):
        return case
    model.ir_version = 3
    infos = (helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer)
    model.graph.input.extend(infos)
    return replace(case, model=model)


def import_domains(model: onnx.ModelProto) -> None:
    """Import the domains of the nodes, beside ONNX's own and that of local functions."""
    imported = {opset.domain for opset in model.opset_import}
    later = any(node.op_type == "TreeEnsemble" for node in model.graph.node)
    for domain, version in ((FUSED, 1), (CLASSICAL, 5 if later else 3)):
        if domain not in imported and any(node.domain == domain for node in model.graph.node):
            model.opset_import.append(helper.make_opsetid(domain, version))


def dress(w: Writer, model: onnx.ModelProto) -> None:
    """What a document has beside its graph: all of it stays, whatever becomes of the nodes."""
    if w.functions:
        model.opset_import.append(helper.make_opsetid(LOCAL, 1))
        body = [helper.make_node("Add", ["x", "x"], ["y"])]
        imports = [helper.make_opsetid("", w.opset)]
        model.functions.append(helper.make_function(LOCAL, "Twice", ["x"], ["y"], body, imports))
    import_domains(model)
    if w.chance(60):
        return
    helper.set_model_props(model, {"trained": "yesterday", "mari": "onnx"})
    model.doc_string, model.producer_name, model.model_version = "a ranking model", "tests", 3
    graph = model.graph
    graph.doc_string = "written at random"
    graph.metadata_props.add(key="layout", value="flat")
    for node in graph.node:
        if w.chance(30):
            node.doc_string = f"makes {node.output[0]}"
            node.metadata_props.add(key="scope", value=node.op_type)
    graph.initializer.append(numpy_helper.from_array(np.arange(3, dtype=np.float32), "nobody.reads.this"))
    outputs = {o.name for o in graph.output}
    for made in w.made:
        if made.name not in outputs and any(made.name in n.output for n in graph.node) and w.chance(30):
            said = [e if isinstance(e, int) else None if w.chance(50) else str(e) for e in made.shape]
            simple = [w.described(e) if isinstance(e, str) else e for e in said]
            info = helper.make_tensor_value_info(made.name, made.dtype, simple, f"of {made.name}")
            graph.value_info.append(info)


def lowered(dtype: int) -> int:
    return TensorProto.FLOAT16 if dtype == FLOAT else dtype


def lowered_model(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with float16 for float32; None where an operator has no such version or runtimes have none of it."""
    model = onnx.ModelProto.FromString(model.SerializeToString())

    def tensor(proto: onnx.TensorProto) -> None:
        if proto.data_type == FLOAT:
            proto.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(proto).astype(np.float16), proto.name))

    def graph(body: onnx.GraphProto) -> None:
        for proto in body.initializer:
            tensor(proto)
        for info in (*body.input, *body.output, *body.value_info):
            info.type.tensor_type.elem_type = lowered(info.type.tensor_type.elem_type)
        for node in body.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    tensor(attribute.t)
                elif attribute.HasField("g"):
                    graph(attribute.g)
                elif attribute.name == "to" and node.op_type == "Cast":
                    attribute.i = lowered(attribute.i)
            if node.op_type == "ConstantOfShape" and not node.attribute:  # zeros, of float32 unless told
                zero = numpy_helper.from_array(np.zeros(1, np.float16))
                node.attribute.append(helper.make_attribute("value", zero))

    graph(model.graph)
    try:
        onnx.checker.check_model(model, full_check=True)
        session(model)
    except Exception:
        return None
    return model


def read_case(text: str, user_inputs: Sequence[str] = (), *, opset: int = 17, batch: int = 10**6) -> Case:
    """A case from ONNX text in which the extents B, R and L mean what they mean here."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\n{text}')
    sources = []
    for info in model.graph.input:
        dims = info.type.tensor_type.shape.dim
        shape = tuple(symbol(d.dim_param[0]) if d.dim_param else d.dim_value for d in dims)
        dtype = info.type.tensor_type.elem_type
        made = Made(info.name, shape, dtype, *((0, 4) if dtype == INT64 else (-3, 3)))
        sources.append(Source(made, tiled=info.name in user_inputs and shape[0] == B))
    return Case(model, tuple(sources), tuple(user_inputs), {}, frozenset(), batch)


cases: st.SearchStrategy[Case] = (
    st.randoms(use_true_random=False).map(write_case).filter(lambda case: loads(case.model))
)
