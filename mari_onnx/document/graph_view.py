"""The graph of a document by name: inputs, constants, uses and symbols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.document import Document
from mari_onnx.document.scopes import all_names, reads, reads_of_elements

Shape = list["int | str | None"]


def shape_of(info: onnx.ValueInfoProto) -> Shape | None:
    """The shape: a number, a symbol or None (unknown) for each dimension; None for an unknown rank."""
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return [_extent(dim) for dim in tensor.shape.dim]


def _extent(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """One dim; older exporters write -1 for an extent that they do not know."""
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


NO_NAME = "?"
"""What scripts write for an extent that they do not name."""


def is_named(symbol: str) -> bool:
    """Whether the exporter chose the symbol, so that axes with other symbols may have other extents.

    `batch` is such a symbol. `unk__7` and `user.0` were made up for an axis without a name, and `?` says that it has
    none.
    """
    return not symbol.startswith("unk__") and "." not in symbol and symbol != NO_NAME


class Model:
    """The graph of a document, as onnxruntime reads it, by name."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.proto = document.repaired
        self.graph = self.proto.graph
        self.opsets: dict[str, int] = {o.domain: o.version for o in self.proto.opset_import}
        given = {i.name for i in self.graph.input}
        # From IR version 4 an initializer that is also an input is a default that the caller may replace.
        overridable = given if self.proto.ir_version >= 4 else set()
        self.initializers = {t.name: t for t in self.graph.initializer if t.name not in overridable}
        self.inputs = [i for i in self.graph.input if i.name not in self.initializers]
        self.input_shapes = {i.name: shape_of(i) for i in self.inputs}
        self._arrays: dict[int, tuple[onnx.TensorProto, npt.NDArray[Any]]] = {}
        self.symbols: Mapping[tuple[str, int], str] = {}
        self.settled = False

    def with_symbols(self, symbols: Mapping[tuple[str, int], str]) -> Model:
        """The same graph with other symbols of some axes of inputs, by the input's name and the axis' position."""
        other = copy(self)
        other.symbols = symbols
        return other

    def settle(self, symbols: Mapping[tuple[str, int], str]) -> None:
        """Give axes of inputs other symbols than the exporter, because axes of one name may have other extents."""
        self.symbols, self.settled = symbols, True

    def axis_symbol(self, name: str, axis: int, stated: str | None) -> str:
        """The symbol of an input's axis that the exporter calls `stated`; `user.0` where that says nothing."""
        return self.symbols.get((name, axis)) or stated or f"{name}.{axis}"

    @property
    def ambiguous(self) -> set[str]:
        """The exporter's names of axes of which some have another symbol: a tensor may have the one or the other."""
        shapes = self.input_shapes
        return {s for name, axis in self.symbols if isinstance(s := (shapes[name] or [])[axis], str)}

    @property
    def opset(self) -> int:
        """Version of the standard operators; 0 where the model imports none."""
        return self.opsets.get("", 0)

    def array_of(self, tensor: onnx.TensorProto) -> npt.NDArray[Any]:
        """The tensor as an array, read once: a weight that is cut is asked for with each of its parts."""
        if id(tensor) not in self._arrays:
            # The tensor is kept with its array: the identity of one that is gone is given to the next.
            self._arrays[id(tensor)] = (tensor, tensor_array(self.document, tensor))
        return self._arrays[id(tensor)][1]

    @cached_property
    def value_info(self) -> dict[str, onnx.ValueInfoProto]:
        return {v.name: v for v in (*self.graph.value_info, *self.graph.output)}

    def constant(self, node: onnx.NodeProto) -> onnx.TensorProto | None:
        """The value of a Constant node, as a tensor with its output's name; None for strings and sparse tensors."""
        attribute = node.attribute[0]
        if attribute.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(attribute.t)
            tensor.name = node.output[0]
            return tensor
        dtypes = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
        if attribute.name not in dtypes:
            return None
        array = np.array(onnx.helper.get_attribute_value(attribute), dtypes[attribute.name])
        return numpy_helper.from_array(array, node.output[0])

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each tensor is read: by nodes, by their bodies, and as an output of the graph.

        Shape and Size do not count as readers. Nodes that no output depends on do not count as readers of a tensor that
        some output depends on.
        """
        count = Counter(o.name for o in self.graph.output)
        needed, lost = set(count), []
        for node in reversed(self.graph.node):
            if needed.isdisjoint(node.output):
                lost.append(node)
            else:
                needed.update(reads(node))
                count.update(reads_of_elements(node))
        for node in lost:
            count.update(name for name in reads_of_elements(node) if name not in needed)
        return count

    @property
    def leading_symbols(self) -> dict[str, str]:
        """By input, the symbol of its leading axis, where that is dynamic; `user.0` where it has no name."""
        found = {}
        for name, shape in self.input_shapes.items():
            if shape and not isinstance(shape[0], int):
                found[name] = self.axis_symbol(name, 0, shape[0])
        return found

    @cached_property
    def input_symbols(self) -> set[str]:
        """The symbols that graph inputs give to their extents."""
        return {e for shape in self.input_shapes.values() for e in shape or () if isinstance(e, str)}

    @property
    def output_symbols(self) -> set[str]:
        """The symbols that occur in the shape of every graph output."""
        found = [{e for e in shape_of(o) or () if isinstance(e, str)} for o in self.graph.output]
        return set.intersection(*found) - self.ambiguous if found else set()

    @cached_property
    def names(self) -> set[str]:
        """The names of all tensors in the graph and in its bodies."""
        return {*self.initializers, *(o.name for o in self.graph.output), *all_names(self.graph)}

    @cached_property
    def makers(self) -> dict[tuple[str, ...], onnx.NodeProto]:
        """The nodes of the document's own model, which has no repairs, by the tuple of their outputs' names."""
        return {tuple(node.output): node for node in self.document.proto.graph.node}

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor, by name."""
        return {name: node for node in self.graph.node for name in node.output if name}
