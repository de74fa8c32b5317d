"""Ways to make a ranking model of a node test: some of its inputs become the user's, others the candidates'.

    as is               the test itself; inputs of it are declared
    dynamic             inputs of it are declared, and the leading axes are symbols
    tiled               user [1, ...], Tile to one row for each candidate
    expanded            user [1, ...], Expand
    expanded inside     user [a, 1, ...], Expand to [a, B, ...]: the candidates are not the first axis
    where               Where(mask [B, 1, ...], user [1, ...], item [B, ...])
    concat              Concat of columns of the user, expanded, and columns of the item
    concat rows         Concat of rows: user [k, ...], item [B, ...]
    by request          user [R, ...], Gather by an index [B]

The nodes of the test are the body, unchanged. What a setting makes has the name that the input had. Each result that is
a float32 of known width is multiplied by a weight, as a ranking model does with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.property.invariant import CRASHES_WHEN_EMPTY
from tests.runtime import RUNS_EMPTY
from tests.suite.node_tests import NodeTest

Array = npt.NDArray[Any]
Feeds = dict[str, Any]

B, R = "B", "R"
"""The symbols that count candidates and requests."""

ITEM, INDEX = "suite_item", "suite_index"
"""Inputs that a setting adds."""


@dataclass(frozen=True)
class Source:
    """How an input is drawn: from the array of the test, with as many rows along `axis` as the symbol `rows` says.

    `repeated` rows are all equal, as the caller of a model with tiled inputs sends them. `below` draws row numbers.
    """

    array: Any
    rows: str | None = None
    axis: int = 0
    repeated: bool = False
    below: str | None = None

    def draw(self, sizes: Mapping[str, int], rng: np.random.Generator | None) -> Any:
        """An input. Without a generator it is that of the test."""
        if self.below is not None and self.rows is not None:
            return np.random.default_rng(sizes[self.rows]).integers(0, sizes[self.below], sizes[self.rows])
        array = self.array
        if not isinstance(array, np.ndarray):
            return array
        if rng is not None:
            array = _redrawn(array, rng)
        if self.rows is not None:
            rows = np.zeros(sizes[self.rows], int) if self.repeated else np.arange(sizes[self.rows])
            array = array.take(rows, self.axis, mode="wrap")
        return array


def _redrawn(array: Array, rng: np.random.Generator) -> Array:
    """The same elements in another order, floating-point ones a little apart: ids and lengths stay in their ranges."""
    mixed = rng.permutation(array.ravel()).reshape(array.shape)
    if array.dtype.kind != "f":
        return mixed
    return (mixed * rng.uniform(0.75, 1.25, array.shape)).astype(array.dtype)


@dataclass(frozen=True)
class Wrapped:
    """A node test as a ranking model, the inputs that are declared, and the calls on which it is run."""

    model: onnx.ModelProto
    users: tuple[str, ...]
    sources: Mapping[str, Source]
    sizes: tuple[Mapping[str, int], ...]
    runs_empty: bool

    def calls(self) -> Iterator[Feeds]:
        """Several numbers of candidates, each with the elements of the test, and with others."""
        return self._calls(self.sizes)

    def empty_calls(self) -> Iterator[Feeds]:
        """The same without candidates, if onnxruntime may survive that."""
        return self._calls([{B: 0, R: 1}] if self.runs_empty else [])

    def _calls(self, several: Iterable[Mapping[str, int]]) -> Iterator[Feeds]:
        for sizes in several:
            for rng in (None, np.random.default_rng(sizes[B])):
                yield {name: source.draw(sizes, rng) for name, source in self.sources.items()}


class Variation(NamedTuple):
    """A setting, the inputs that it is applied to, and whether the others are constants of the model.

    `verified` ones are optimized with the verification on.
    """

    test: str
    setting: str
    wrapped: tuple[str, ...]
    constants: bool = False
    verified: bool = False


class NotApplicableError(Exception):
    """The setting means nothing for this input: it has no second axis, or the opset no Expand."""


@dataclass
class Draft:
    """A ranking model while it is made. `candidates` is an input and the axis of it along which they are."""

    test: NodeTest
    candidates: tuple[str, int] | None = None
    users: list[str] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def input(self, name: str, source: Source, *, user: bool = False) -> str:
        """Add an input."""
        array = source.array
        shape: list[int | str] = [*array.shape]
        if source.rows is not None:
            shape[source.axis] = source.rows
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        self.sources[name] = source
        if user:
            self.users.append(name)
        return name

    def constant(self, name: str, array: Array) -> str:
        """Add an initializer."""
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node before those of the test."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def require(self, opset: int) -> None:
        """Give up where the model is of an older opset."""
        if 0 < self.test.opset < opset:
            raise NotApplicableError

    def count(self, name: str) -> str:
        """The number of candidates, as a tensor [1]."""
        if self.candidates is None:
            self.candidates = self.input(ITEM, Source(np.arange(3, dtype=np.float32), B)), 0
        item, axis = self.candidates
        shape = self.node("Shape", [item], f"{name}_shape")
        return self.node("Gather", [shape, self.constant(f"{name}_axis", np.array([axis]))], f"{name}_count", axis=0)


Setting = Callable[[Draft, str, Array], None]
"""Makes the tensor of this name, which was an input of the test with these elements."""


def _with_axes(array: Array, axes: int) -> None:
    if array.ndim < axes or 0 in array.shape:
        raise NotApplicableError


def _expand(draft: Draft, source: str, name: str, extents: list[int], position: int = 0) -> str:
    """Expand to these extents, the one at `position` being the number of candidates."""
    draft.require(8)
    parts = [
        draft.constant(f"{name}_{i}", np.array(e, np.int64))
        for i, e in enumerate((extents[:position], extents[position + 1 :]))
    ]
    target = draft.node("Concat", [parts[0], draft.count(name), parts[1]], f"{name}_target", axis=0)
    return draft.node("Expand", [source, target], name)


def _tiled(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 1)
    user = draft.input(f"{name}_user", Source(array[:1]), user=True)
    count = draft.count(name)
    if array.ndim > 1:
        ones = draft.constant(f"{name}_ones", np.ones(array.ndim - 1, np.int64))
        count = draft.node("Concat", [count, ones], f"{name}_repeats", axis=0)
    draft.node("Tile", [user, count], name)


def _expanded(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 1)
    user = draft.input(f"{name}_user", Source(array[:1]), user=True)
    _expand(draft, user, name, [*array.shape])


def _expanded_inside(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 2)
    user = draft.input(f"{name}_user", Source(array[:, :1]), user=True)
    _expand(draft, user, name, [*array.shape], 1)


def _where(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 1)
    draft.require(9)
    user = draft.input(f"{name}_user", Source(array[:1]), user=True)
    item = draft.input(f"{name}_item", Source(array, B))
    mask = np.arange(len(array)).reshape(-1, *[1] * (array.ndim - 1)) % 2 == 0
    draft.node("Where", [draft.input(f"{name}_mask", Source(mask, B)), user, item], name)


def _concat(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 2)
    half = array.shape[-1] // 2
    if not half:
        raise NotApplicableError
    user = draft.input(f"{name}_user", Source(array[:1, ..., :half]), user=True)
    item = draft.input(f"{name}_item", Source(array[..., half:], B))
    draft.candidates = draft.candidates or (item, 0)
    rows = _expand(draft, user, f"{name}_rows", [*array[..., :half].shape])
    draft.node("Concat", [rows, item], name, axis=array.ndim - 1)


def _concat_rows(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 1)
    half = len(array) // 2
    if not half:
        raise NotApplicableError
    user = draft.input(f"{name}_user", Source(array[:half]), user=True)
    item = draft.input(f"{name}_item", Source(array[half:], B))
    draft.node("Concat", [user, item], name, axis=0)


def _by_request(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 1)
    user = draft.input(f"{name}_user", Source(array, R), user=True)
    if INDEX not in draft.sources:
        draft.input(INDEX, Source(np.zeros(3, np.int64), B, below=R))
    draft.node("Gather", [user, INDEX], name, axis=0)


def _as_is(draft: Draft, name: str, array: Array) -> None:
    """The caller of a model whose leading axis is a symbol repeats the rows of what is declared."""
    info = next(i for i in draft.test.model.graph.input if i.name == name)
    repeated = array.ndim > 0 and not info.type.tensor_type.shape.dim[0].HasField("dim_value")
    draft.input(name, Source(array, B if repeated else None, repeated=repeated), user=True)


def _dynamic(draft: Draft, name: str, array: Array) -> None:
    _with_axes(array, 1)
    draft.input(name, Source(array, B, repeated=True), user=True)


SETTINGS: Mapping[str, Setting] = {
    "as is": _as_is,
    "dynamic": _dynamic,
    "tiled": _tiled,
    "expanded": _expanded,
    "expanded inside": _expanded_inside,
    "where": _where,
    "concat": _concat,
    "concat rows": _concat_rows,
    "by request": _by_request,
}


def variations(test: NodeTest) -> Iterator[Variation]:
    """The ways to wrap a test: each input alone, the others being the candidates' or constants, and all together."""
    names = list(test.tensors)
    for setting in SETTINGS:
        for name in names:
            yield Variation(test.name, setting, (name,))
            if len(names) > 1 and setting != "as is":
                yield Variation(test.name, setting, (name,), constants=True)
        if len(names) > 1:
            yield Variation(test.name, setting, tuple(names))


def declarations(test: NodeTest) -> Iterator[Variation]:
    """The ways to declare inputs of a test as they are: the first alone, and all others."""
    names = list(test.tensors)
    for setting in ("as is", "dynamic"):
        for wrapped in (names[:1], names[1:]):
            if wrapped:
                yield Variation(test.name, setting, tuple(wrapped))


def verified(test: NodeTest) -> Iterator[Variation]:
    """The way in which a test is verified: its first input is declared. What is no tensor is not drawn."""
    names = list(test.tensors)
    if names and len(names) == len(test.arrays):
        yield Variation(test.name, "dynamic", (names[0],), constants=len(names) > 1, verified=True)


def wrap(test: NodeTest, variation: Variation) -> Wrapped:
    """The model of a variation. Raises NotApplicableError."""
    draft, setting = Draft(test), SETTINGS[variation.setting]
    if variation.setting != "as is":
        draft.require(7)
    axis = 1 if variation.setting == "expanded inside" else 0
    counted = next((a.shape[axis] for n, a in test.tensors.items() if n in variation.wrapped and a.ndim > axis), 0)
    given = {t.name for t in test.model.graph.initializer}
    for info in test.model.graph.input:
        name = info.name
        if name in given:
            draft.inputs.append(info)
        elif name not in test.tensors:
            draft.inputs.append(info)
            draft.sources[name] = Source(test.arrays[name])
        elif name in variation.wrapped:
            continue
        elif variation.constants:
            draft.constant(name, test.tensors[name])
        elif variation.setting in ("as is", "concat rows") or not _counts(test.tensors[name], axis, counted):
            draft.input(name, Source(test.tensors[name]))
        else:
            draft.input(name, Source(test.tensors[name], B, axis))
            draft.candidates = draft.candidates or (name, axis)
    for name in variation.wrapped:
        setting(draft, name, test.tensors[name])
    if variation.setting == "dynamic" and draft.candidates is None:
        draft.count(ITEM)
    dies = any(node.op_type in CRASHES_WHEN_EMPTY for node in test.model.graph.node)
    runs_empty = RUNS_EMPTY and not dies and variation.setting != "as is"
    sizes = _sizes(variation, counted)
    return Wrapped(_assembled(draft, variation), tuple(draft.users), draft.sources, sizes, runs_empty)


def _counts(array: Array, axis: int, counted: int) -> bool:
    """Whether the axis of another input has the extent that becomes the number of candidates."""
    return array.ndim > axis and array.shape[axis] == counted > 0


def _sizes(variation: Variation, rows: int) -> tuple[Mapping[str, int], ...]:
    """The numbers of candidates and requests; the first is that of the test."""
    if variation.setting == "as is":
        return ({B: rows, R: 0},)
    if variation.setting == "concat rows":
        return tuple({B: n, R: 0} for n in (rows - rows // 2, 1, rows + 2))
    return tuple({B: n, R: requests} for n, requests in ((max(rows, 1), 2), (1, 1), (rows + 2, 3)))


def _assembled(draft: Draft, variation: Variation) -> onnx.ModelProto:
    """The model: the nodes that were drafted, then those of the test."""
    test = draft.test.model
    model = onnx.ModelProto()
    model.CopyFrom(test)
    graph = model.graph
    if variation.setting == "as is":
        return model
    del graph.input[:], graph.node[:], graph.value_info[:]
    graph.input.extend(draft.inputs)
    graph.node.extend([*draft.nodes, *test.graph.node])
    graph.initializer.extend(draft.initializers)
    model.ir_version = max(model.ir_version, 4)  # before, an initializer had to be an input
    if not draft.test.opset:
        model.opset_import.append(helper.make_opsetid("", 17))
    for info in graph.output:
        info.type.tensor_type.ClearField("shape") if info.type.HasField("tensor_type") else None
    model = _with_shapes(model)
    for info in list(model.graph.output):
        _multiply(model.graph, info)
    return model


def _multiply(graph: onnx.GraphProto, info: onnx.ValueInfoProto) -> None:
    """Add a product with an output, if its width is known."""
    dims = info.type.tensor_type.shape.dim
    width = dims[-1].dim_value if dims else 0
    if info.type.tensor_type.elem_type == TensorProto.FLOAT and width > 0:
        weight = np.random.default_rng(width).integers(-2, 3, (width, 2)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(weight, f"{info.name}_weight"))
        product = f"{info.name}_product"
        graph.node.append(helper.make_node("MatMul", [info.name, f"{info.name}_weight"], [product]))
        graph.output.append(helper.make_tensor_value_info(product, TensorProto.FLOAT, None))


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with shapes of its outputs, as far as onnx can tell: an exporter's own would be of one size."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # what onnx does not understand, onnxruntime may run all the same
        return model
    for info, found in zip(model.graph.output, inferred.graph.output, strict=True):
        if found.type.tensor_type.HasField("shape"):
            info.CopyFrom(found)
    return model
