"""What the installed onnxruntime can do: tests ask no more of it, on the oldest version that is supported."""

from __future__ import annotations

import onnx
import onnxruntime as ort

RUNS_EMPTY = tuple(map(int, ort.__version__.split(".")[:2])) >= (1, 32)
"""Whether it runs models without candidates, but for a few operators.

Before 1.32 MatMul and Mul do not broadcast to none, and ArgMin gives another shape; before 1.31 TopK ends the process.
"""


def _runs(opset: int) -> bool:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> g (float[1] x) => (float[1] y) {{ y = Neg (x) }}'
    )
    try:
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


NEWEST_OPSET = next(opset for opset in range(onnx.defs.onnx_opset_version(), 0, -1) if _runs(opset))
"""The newest opset that both onnx and onnxruntime know."""
