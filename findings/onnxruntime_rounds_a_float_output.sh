#!/usr/bin/env bash
# onnxruntime 1.32.0 rounds a float32 graph output to 8 bits.
#
# The model has two outputs. `scores` are float32 and come from Relu. A second branch transposes and quantizes them:
#
#     scores = Relu(x)        y = DequantizeLinear(QuantizeLinear(Transpose(scores)))
#
# A QuantizeLinear with one scale per row is moved before the Transpose, at the basic level of optimizations already.
# The output `scores` then reads what was quantized. With optimizations disabled, and with an Identity that reads
# `scores` beside the Transpose, the output is exact. No warning is given.
#
# An exporter that adds a quantized side branch changes scores that the branch does not compute.
#
# Seen: scores of [[0.3, 1.4, 2.6]] are answered as [[0.0, 2.0, 3.0]].
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
g (float[N, 3] x) => (float[N, 3] scores, float[3, N] y)
<float[3] scale = {1, 2, 1}, int8[3] zero = {0, 0, 0}> {
    scores = Relu (x)
    t = Transpose <perm = [1, 0]> (scores)
    q = QuantizeLinear <axis = 0> (t, scale, zero)
    y = DequantizeLinear <axis = 0> (q, scale, zero)
}""")
onnx.checker.check_model(model, full_check=True)
x = np.float32([[0.3, 1.4, 2.6]])


def scores(level: ort.GraphOptimizationLevel) -> list[list[float]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"x": x})[0].round(3).tolist()


levels = ort.GraphOptimizationLevel
plain, basic = scores(levels.ORT_DISABLE_ALL), scores(levels.ORT_ENABLE_BASIC)
print(f"onnxruntime {ort.__version__}")
print(f"expected               {x.round(3).tolist()}")
print(f"optimizations disabled {plain}")
print(f"basic optimizations    {basic}")
sys.exit(not (plain == x.round(3).tolist() and basic == [[0.0, 2.0, 3.0]]))
PY
