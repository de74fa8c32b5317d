"""A document as the interpreter reads it: what is constant, what is an input, what a body captures."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.document import Document
from mari_onnx.document.scopes import all_names, reads

Shape = list["int | str | None"]


def shape_of(info: onnx.ValueInfoProto) -> Shape | None:
    """Dims as numbers, symbols, or None where nothing is said; None for a rank that is unknown."""
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return [_extent(dim) for dim in tensor.shape.dim]


def _extent(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """One dim; older exporters write -1 for an extent that they do not know."""
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


def is_named(symbol: str) -> bool:
    """Whether the exporter named the symbol for a reason: then an axis that is called otherwise may be another."""
    return not symbol.startswith("unk__") and "." not in symbol


class Model:
    """The graph of a document, by name."""

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
        self._arrays: dict[int, tuple[onnx.TensorProto, npt.NDArray[Any]]] = {}

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
        """What a Constant node holds, as a tensor of its output's name; None for what has no dense tensor."""
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
        """How often each tensor is read, not for its shape: by nodes, by their bodies, and as an output.

        What no output needs has its readers, and reads nothing of what one needs.
        """
        count = Counter(o.name for o in self.graph.output)
        needed = set(count)
        for node in reversed(self.graph.node):
            if not needed.isdisjoint(node.output):
                needed.update(reads(node))
        for node in self.graph.node:
            if node.op_type not in ("Shape", "Size"):
                lost = needed.isdisjoint(node.output)
                count.update(name for name in reads(node) if not lost or name not in needed)
        return count

    @cached_property
    def leading_symbols(self) -> dict[str, str]:
        """The symbol of each input's leading axis, where that is dynamic."""
        found = {}
        for info in self.inputs:
            shape = shape_of(info)
            if shape and not isinstance(shape[0], int):
                found[info.name] = shape[0] or f"{info.name}.0"
        return found

    @cached_property
    def input_symbols(self) -> set[str]:
        """The symbols that graph inputs give to their extents."""
        return {e for info in self.inputs for e in shape_of(info) or () if isinstance(e, str)}

    @cached_property
    def output_symbols(self) -> set[str]:
        """The symbols that every graph output has among its extents."""
        found = [{e for e in shape_of(o) or () if isinstance(e, str)} for o in self.graph.output]
        return set.intersection(*found) if found else set()

    @cached_property
    def names(self) -> set[str]:
        """Every name that stands for a tensor somewhere in the graph or a body."""
        return {*self.initializers, *(o.name for o in self.graph.output), *all_names(self.graph)}

    @cached_property
    def makers(self) -> dict[tuple[str, ...], onnx.NodeProto]:
        """The nodes of the user's own model by their outputs."""
        return {tuple(node.output): node for node in self.document.proto.graph.node}
