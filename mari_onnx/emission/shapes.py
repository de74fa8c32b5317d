"""Shape arithmetic: one-dimensional tensors of extents, each made once."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.emission.constants import initialize
from mari_onnx.emission.names import unique
from mari_onnx.emission.protos import new_node
from mari_onnx.emission.state import Emission, append_ours
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, Poly, symbols


def integers(emission: Emission, values: list[int], dtype: int = TensorProto.INT64) -> str:
    """The name of a stored 1-D tensor of these."""
    key = (dtype, tuple(values))
    if key not in emission.extents:
        shown = "_".join(str(v).replace("-", "m") for v in values[:8])
        kind = "shape" if dtype == TensorProto.INT64 else "extents"
        name = unique(emission, f"mari.{kind}_{shown}", set(emission.extents.values()))
        emission.extents[key] = name
        array = np.array(values, helper.tensor_dtype_to_np_dtype(dtype))
        initialize(emission, name, numpy_helper.from_array(array, name))
    return emission.extents[key]


def shape_tensor(emission: Emission, extents: list[Extent | bool], dtype: int, near: Tensor | None) -> str:
    """The name of a 1-D tensor of these extents.

    Symbols are read off `near` where it has them, else off a graph input.
    """
    if all(isinstance(e, int) for e in extents):
        return integers(emission, [int(e) for e in extents if isinstance(e, int)], dtype)
    pieces: list[str] = []
    run: list[int] = []
    for extent in [*extents, None]:
        if isinstance(extent, int):
            run.append(extent)
            continue
        if run:
            pieces.append(integers(emission, run))
            run = []
        if extent is not None:
            pieces.append(_extent(emission, extent, near))
    name = pieces[0] if len(pieces) == 1 else made(emission, "Concat", pieces, axis=0)
    return name if dtype == TensorProto.INT64 else made(emission, "Cast", [name], to=dtype)


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
            factors.append(integers(emission, [coefficient]))
        term = factors[0]
        for factor in factors[1:]:
            term = made(emission, "Mul", [term, factor])
        total = term if total is None else made(emission, "Add", [total, term])
    assert total is not None
    return total


def _dimension(emission: Emission, tensor: Tensor, axis: int) -> str:
    source = emission.names[tensor]
    if emission.model.opset >= 15:
        return made(emission, "Shape", [source], start=axis, end=axis + 1)
    whole = made(emission, "Shape", [source])
    return made(emission, "Gather", [whole, integers(emission, [axis])], axis=0)


def single_extents(emission: Emission) -> frozenset[str]:
    """The names of tensors that hold one extent each."""
    kinds = {"Mul", "Add", "Gather"} | ({"Shape"} if emission.model.opset >= 15 else set())
    return frozenset(name for key, name in emission.extents.items() if isinstance(key, tuple) and key[0] in kinds)


def made(emission: Emission, op_type: str, inputs: list[str], **attributes: int) -> str:
    """The name of what a node of shape arithmetic computes; it is written once."""
    key = (op_type, tuple(inputs), tuple(sorted(attributes.items())))
    if key not in emission.extents:
        used = {*emission.extents.values(), *emission.names.values()}
        name = unique(emission, f"mari.{op_type.lower()}_{len(emission.extents)}", used)
        emission.extents[key] = name
        append_ours(emission, new_node(op_type, name, inputs, name, **attributes))
    return emission.extents[key]
