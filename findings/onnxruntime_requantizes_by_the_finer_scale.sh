#!/usr/bin/env bash
# onnxruntime 1.32.0 leaves out a quantization with a coarse scale, and answers with the finer scale before it.
#
#     a = QuantizeLinear(x, 0.1)    b = DequantizeLinear(a, 0.1)
#     c = QuantizeLinear(b, 1.0)    y = DequantizeLinear(c, 1.0)
#
# By the definition of the operators y is a whole number. From the basic level of optimizations on, the two pairs become
# one with the finer scale, and y keeps the tenths. With optimizations disabled the answer is as defined. No warning is
# given.
#
# A tool that takes away a Concat or a Reshape between two quantized tensors brings the two pairs together. Every value
# may then differ by half a coarse step, though the graph still says the same.
#
# Seen: [0.3, 1.4, 2.6, 7.2] is answered as itself, and not as [0, 1, 3, 7].
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
g (float[N] x) => (float[N] y)
<float fine = {0.1}, float coarse = {1}, uint8 zero = {0}> {
    a = QuantizeLinear (x, fine, zero)
    b = DequantizeLinear (a, fine, zero)
    c = QuantizeLinear (b, coarse, zero)
    y = DequantizeLinear (c, coarse, zero)
}""")
onnx.checker.check_model(model, full_check=True)
x = np.float32([0.3, 1.4, 2.6, 7.2])


def answer(level: ort.GraphOptimizationLevel) -> list[float]:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0].round(3).tolist()


levels = ort.GraphOptimizationLevel
plain, basic = answer(levels.ORT_DISABLE_ALL), answer(levels.ORT_ENABLE_BASIC)
print(f"onnxruntime {ort.__version__}")
print(f"x                      {x.round(3).tolist()}")
print(f"optimizations disabled {plain}")
print(f"basic optimizations    {basic}")
sys.exit(not (plain == [0.0, 1.0, 3.0, 7.0] and basic == x.round(3).tolist()))
PY
