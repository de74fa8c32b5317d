"""The backend tests that come with the onnx package: models of one operator or of a few, each with inputs.

Nothing of them is stored here. What they expect of their outputs is not used: the truth is onnxruntime's own answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import OptionalProto, SequenceProto, TensorProto, helper, numpy_helper

NUMPY = frozenset(
    {
        TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.STRING,
        TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
        TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
    }
)  # fmt: skip
"""The element types that onnxruntime takes from NumPy and gives back to it; others are cast inside the model."""

FOLDERS = ("pytorch-converted", "pytorch-operator", "simple")
"""The tests that lie in the package as files."""


@dataclass(frozen=True)
class NodeTest:
    """A test of onnx. `arrays` are its inputs: arrays, and for sequences and optional values lists and None."""

    name: str
    model: onnx.ModelProto
    arrays: Mapping[str, Any]

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The inputs that are tensors."""
        kinds = {i.name: i.type.WhichOneof("value") for i in self.model.graph.input}
        return {name: a for name, a in self.arrays.items() if kinds[name] == "tensor_type"}

    @property
    def opset(self) -> int:
        """The version of the standard operators; 0 if the model imports none."""
        return next((o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")), 0)


def node_tests(modules: Iterable[str] | None = None) -> dict[str, NodeTest]:
    """The tests by name: all, or at least those of some modules of onnx, such as "matmul", which are sooner ready."""
    from onnx.backend.test.case import node
    from onnx.backend.test.loader import load_model_tests

    if modules is None:
        load_model_tests(kind="node")
    for module in modules or ():
        import_module(f"{node.__name__}.{module}")
    found = {t.name: made(t.name, t.model, t.data_sets[0][0]) for t in node._NodeTestCases}
    for kind in FOLDERS if modules is None else ():
        for test in load_model_tests(kind=kind):
            name = f"{kind}/{test.name}"
            found[name] = stored(name, Path(test.model_dir or "") / "model.onnx")
    return dict(sorted(found.items()))


def stored(name: str, path: Path) -> NodeTest:
    """The test of a model that has a file for each input beside it."""
    model = onnx.load(path)
    arrays: list[Any] = []
    for i, info in enumerate(inputs_of(model)):
        content = (path.parent / f"test_data_set_0/input_{i}.pb").read_bytes()
        match info.type.WhichOneof("value"):
            case "tensor_type":
                arrays.append(numpy_helper.to_array(TensorProto.FromString(content)))
            case "sequence_type":
                arrays.append(numpy_helper.to_list(SequenceProto.FromString(content)))
            case _:
                arrays.append(numpy_helper.to_optional(OptionalProto.FromString(content)))
    return made(name, model, arrays)


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller has to give."""
    given = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in given]


def made(name: str, model: onnx.ModelProto, arrays: Iterable[Any]) -> NodeTest:
    """The test, with casts of what NumPy has no element type for."""
    cast = onnx.ModelProto()
    cast.CopyFrom(model)
    given = dict(zip([i.name for i in inputs_of(cast)], map(_array, arrays), strict=True))
    for i, info in enumerate(cast.graph.input):
        if (dtype := info.type.tensor_type.elem_type) and dtype not in NUMPY:
            cast.graph.node.insert(i, helper.make_node("Cast", [info.name + AS_FLOAT], [info.name], to=dtype))
            given[info.name + AS_FLOAT] = given.pop(info.name).astype(np.float32)
            _as_float(info)
    for info in cast.graph.output:
        if (dtype := info.type.tensor_type.elem_type) and dtype not in NUMPY:
            cast.graph.node.append(helper.make_node("Cast", [info.name], [info.name + AS_FLOAT], to=TensorProto.FLOAT))
            _as_float(info)
    return NodeTest(name, cast, given)


AS_FLOAT = "_as_float"


def _as_float(info: onnx.ValueInfoProto) -> None:
    info.name += AS_FLOAT
    info.type.tensor_type.elem_type = TensorProto.FLOAT


def _array(given: Any) -> Any:
    """An input as onnxruntime takes it: numbers and stored tensors become arrays."""
    if isinstance(given, TensorProto):
        return numpy_helper.to_array(given)
    return given if isinstance(given, list) or given is None else np.asarray(given)
