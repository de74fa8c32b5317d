#!/usr/bin/env bash
# onnxruntime 1.32.0 multiplies another matrix where a transposed batch of matrices meets a vector.
#
#     y = MatMul(Transpose(m, perm=[0, 2, 1]), v)        m [B, K, N], v [K], y [B, N]
#
# From the extended level of optimizations on, the two become one fused product. It reads the numbers of each matrix in
# their stored order as if it were [N, K]. The shape of the result is right and its values are wrong; no warning is
# given. A vector written as a matrix [K, 1] is multiplied correctly.
#
# Seen: m = [[[1, 2, 3], [4, 5, 6]]] and v = [1, 10] give [[21, 43, 65]] instead of [[41, 52, 63]].
# Exit status: 0 if the behaviour is as described, 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime as ort

model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
g (float[B, 2, 3] m, float[2] v) => (float[B, 3] y) {
    t = Transpose <perm = [0, 2, 1]> (m)
    y = MatMul (t, v)
}""")
onnx.checker.check_model(model, full_check=True)
m, v = np.float32([[[1, 2, 3], [4, 5, 6]]]), np.float32([1, 10])


def product(level: ort.GraphOptimizationLevel) -> list[list[float]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"m": m, "v": v})[0].tolist()


levels = ort.GraphOptimizationLevel
expected = (np.swapaxes(m, 1, 2) @ v).tolist()
basic, extended = product(levels.ORT_ENABLE_BASIC), product(levels.ORT_ENABLE_EXTENDED)
print(f"onnxruntime {ort.__version__}")
print(f"expected                {expected}")
print(f"basic optimizations     {basic}")
print(f"extended optimizations  {extended}")
sys.exit(not (basic == expected and extended == [[21.0, 43.0, 65.0]]))
PY
