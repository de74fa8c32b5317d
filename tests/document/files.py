"""Models as files, and what lies in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, parser

TABLE = np.arange(24, dtype=np.float32).reshape(4, 6)


def model(body: str = "y = Relu(x)", opsets: str = '"" : 17') -> onnx.ModelProto:
    return parser.parse_model(
        f"<ir_version: 8, opset_import: [{opsets}]> g (float[N, 4] x) => (float[N, M] y) {{ {body} }}"
    )


def external(
    name: str, location: str, array: np.ndarray[Any, Any], offset: int | str = 0, **entries: str
) -> TensorProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": str(offset), **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def write(path: Path, proto: onnx.ModelProto) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString())
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def changed(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.doc_string = "changed"
    return copy
