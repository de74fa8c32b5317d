"""What a form means, a second time: its stored tensors, run as they are, and spread over the value's axes in numpy.

Nothing of the engine's own laying out is used here. That every form of a value evaluates to the value is the whole
of soundness, so the two may not share a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.shared_symbols import settle_symbols
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.emission import lower, write
from mari_onnx.ir.axes import Axis, Dims
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import ROW, Extent, evaluate
from mari_onnx.ir.forms import Array, Blocks, Factors, Form, IndexMap, Parts, Terms, Value

Ndarray = npt.NDArray[Any]

ort.set_default_logger_severity(4)


def session(model: onnx.ModelProto, *, optimized: bool = False) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Its fusions of quantized nodes round what the nodes do not, and break on some of what it has fused itself.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def loads(model: onnx.ModelProto, *, optimized: bool = False) -> bool:
    """Whether onnxruntime takes a graph at all: what it infers may contradict what each node gave by itself."""
    try:
        session(model, optimized=optimized)
    except Exception:  # onnxruntime's exceptions have no common base
        return False
    return True


def with_outputs(model: onnx.ModelProto, outputs: Mapping[str, int]) -> onnx.ModelProto:
    """The model with other outputs, of these element types."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.output[:]
    for name, dtype in outputs.items():
        info = onnx.ValueInfoProto(name=name)
        if dtype:  # where onnx knows no type, onnxruntime does
            info.type.tensor_type.elem_type = dtype
        out.graph.output.append(info)
    return out


@dataclass(frozen=True)
class Apart(Parts):
    """Parts, those that are sums by their terms, those that are products by their factors."""


def forms(value: Value) -> Iterator[tuple[str, Form]]:
    """All forms by kind; parts that have other forms of pieces are evaluated a second time, with these."""
    yield from value.forms()
    if value.parts is not None and any(value.parts.apart):
        yield "apart", Apart(value.parts.axis, value.parts.pieces, 0.0, value.parts.apart)


def arrays(form: Form) -> list[Array]:
    match form:
        case Array():
            return [form]
        case Apart():
            return [
                a for (_, piece), t in zip(form.pieces, form.apart, strict=True) for a in (arrays(t) if t else [piece])
            ]
        case Parts():
            return [array for _, array in form.pieces]
        case Terms():
            return [array for _, array in form.signed]
        case Factors():
            return [form.left, form.right]
        case Blocks():
            return [*(array for line in form.grid for array in line), *(array for _, array in form.diagonals)]
        case _:
            assert_never(form)


class LackingError(Exception):
    """The stored tensors need what no operator of the model's opset does."""


class Forms:
    """The stored tensors of all forms of some values, as one model; `evaluate` says what a form amounts to."""

    def __init__(self, program: Program, original: onnx.ModelProto, values: list[Value]) -> None:
        stored: dict[Tensor, None] = {}
        for value in values:
            for _, form in forms(value):
                for array in arrays(form):
                    stored[array.tensor] = None
                    stored.update((m.index, None) for _, m in array.via if m.index is not None)
        stored.update((tensor, None) for tensor, _ in program.providers.values())
        self.program = program
        self.names = {tensor: f"stored.{i}" for i, tensor in enumerate(stored)}
        outputs = [Value(name, None, t.dtype, Array(t, ())) for t, name in self.names.items()]
        wanted = with_outputs(original, {name: t.dtype for t, name in self.names.items()})
        model = Model(from_proto(original).with_proto(wanted))
        settle_symbols(model, program.context.cost.batch)
        lowered = lower(replace(program, outputs=outputs), model)
        if lowered.lacking:
            raise LackingError(lowered.lacking)
        self.model = write(lowered).model
        self.session = session(self.model)
        self.stored: dict[Tensor, Ndarray] = {}
        self.symbols: dict[str, int] = {}

    def run(self, feeds: Mapping[str, Ndarray], batch: int) -> None:
        results = self.session.run(list(self.names.values()), dict(feeds))
        self.stored = dict(zip(self.names, results, strict=True))
        self.symbols = {s: self.stored[t].shape[i] for s, (t, i) in self.program.providers.items()}
        self.symbols[ROW] = min(1, batch)

    def extent(self, extent: Extent) -> int:
        found = evaluate(extent, self.symbols, -(10**9))
        assert found >= 0, f"{extent} has a symbol that nothing provides"
        return found

    def shape(self, dims: Dims) -> tuple[int, ...]:
        return tuple(int(np.prod([self.extent(a.extent) for a in d], dtype=int)) for d in dims)

    def evaluate(self, form: Form, dims: Dims) -> Ndarray:
        return self._spread(form, [a for d in dims for a in d]).reshape(self.shape(dims))

    def _spread(self, form: Form, axes: list[Axis]) -> Ndarray:
        """Of rank len(axes), each axis at its extent."""
        match form:
            case Terms():
                total = sum(sign * self._spread(array, axes) for sign, array in form.signed)
                return np.asarray(total)
            case Factors():
                return np.asarray(self._spread(form.left, axes) * self._spread(form.right, axes))
            case Parts():
                assert axes.count(form.axis) == 1, "the axis of Parts is one of the value's"
                at = axes.index(form.axis)
                own: list[Array | Terms | Factors] = [a for _, a in form.pieces]
                if isinstance(form, Apart):
                    own = [t or a for a, t in zip(own, form.apart, strict=True)]
                subs = [sub for sub, _ in form.pieces]
                pieces = [self._spread(a, [*axes[:at], s, *axes[at + 1 :]]) for s, a in zip(subs, own, strict=True)]
                assert sum(p.shape[at] for p in pieces) == self.extent(form.axis.extent)
                return np.concatenate(pieces, at)
            case Blocks():
                return self._of_blocks(form, axes)
            case Array():
                return self._of_array(form, axes)
            case _:
                assert_never(form)

    def _of_blocks(self, form: Blocks, axes: list[Axis]) -> Ndarray:
        lines, diagonals = [], dict(form.diagonals)
        for r, (row, line) in enumerate(zip(form.rows, form.grid, strict=True)):
            assert form.row is None or row is not None, "rows that are cut have an axis each"
            cut = [row if a is form.row and row is not None else a for a in axes]
            at = cut.index(form.column)
            without = [*cut[:at], *cut[at + 1 :]]
            blocks = []
            for c, (column, array) in enumerate(zip(form.columns, line, strict=True)):
                if (r, c) in form.alone:
                    assert row is not None, "a square block has rows"
                    blocks.append(_on_diagonal(self._spread(array, without), without.index(row), at))
                    continue
                blocks.append(self._spread(array, [*cut[:at], column, *cut[at + 1 :]]))
                if (own := diagonals.get((r, c))) is not None:
                    assert row is not None, "a square block has rows"
                    found = np.moveaxis(self._spread(own, without), without.index(row), -1)
                    wanted = np.diagonal(blocks[-1], axis1=cut.index(row), axis2=at)
                    np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=f"the diagonal of block {r}, {c}")
            lines.append(np.concatenate(blocks, at))
        return lines[0] if form.row is None else np.concatenate(lines, axes.index(form.row))

    def _of_array(self, array: Array, axes: list[Axis]) -> Ndarray:
        named = [a for d in array.layout for a in d]
        assert len(set(named)) == len(named), "an axis is stored once"
        assert len(set(axes)) == len(axes), "an axis is in a value once"
        maps: dict[Axis, IndexMap] = dict(array.via)
        assert len(maps) == len(array.via)
        assert set(maps) <= set(named), "an index map belongs to a stored axis"
        stored = self.stored[array.tensor]
        expected = tuple(
            int(np.prod([self.extent(maps[a].rows if a in maps else a.extent) for a in d], dtype=int))
            for d in array.layout
        )
        assert stored.shape == expected, f"stored as {stored.shape}, laid out as {expected}"
        x = stored.reshape([self.extent(maps[a].rows if a in maps else a.extent) for a in named])
        strange = [a for a in named if a not in axes]
        assert all(self.extent(a.extent) == 1 for a in strange), f"{strange} are not axes of the value"
        x = x.reshape([n for a, n in zip(named, x.shape, strict=True) if a not in strange])
        named = [a for a in named if a not in strange]
        x = x.transpose([named.index(a) for a in axes if a in named])
        for at, axis in enumerate(axes):
            if axis not in named:
                x = np.expand_dims(x, at)
            elif axis in maps and (index := maps[axis].index) is not None:
                x = np.take(x, self.stored[index], at)
            elif axis in maps:
                # One row for all, and one to spare where a mask selects none.
                assert min(1, self.extent(axis.extent)) <= x.shape[at] <= 1
                x = np.take(x, np.zeros(self.extent(axis.extent), int), at)
        return np.broadcast_to(x, [self.extent(a.extent) for a in axes])


def _on_diagonal(rows: Ndarray, row: int, at: int) -> Ndarray:
    """A matrix with these numbers on its diagonal, and zeros elsewhere: its columns become axis `at`."""
    matrix = np.moveaxis(rows, row, -1)[..., None] * np.eye(rows.shape[row], dtype=rows.dtype)
    matrix = np.moveaxis(matrix, -2, row)
    return np.moveaxis(matrix, -1, at)
