#!/usr/bin/env bash
# onnxruntime 1.32.0 does not load a model in which what was dequantized from int8 is reshaped or transposed.
#
#     y = Relu(Reshape(DequantizeLinear(QuantizeLinear(x, s, z), s, z), shape))        z int8, opset 21 or newer
#
# From the extended level of optimizations on, QuantizeLinear and DequantizeLinear are repeated behind the Reshape. The
# new QuantizeLinear is given `output_dtype` INT8 and a zero point of UINT8, and the model is refused as invalid. Opset
# 20 and older, uint8 and int16 are loaded.
#
# Seen: [TypeInferenceError] output_dtype INT8 does not match y_zero_point type UINT8.
# Exit status: 0 if the behaviour is as described, 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import sys

import onnx
import onnxruntime as ort


def loads(opset: int, kind: str, level: ort.GraphOptimizationLevel) -> str:
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : {opset}]>
    g (float[N, 2] x) => (float[M] y)
    <float s = {{0.5}}, {kind} z = {{5}}, int64[1] shape = {{-1}}> {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        r = Reshape (d, shape)
        y = Relu (r)
    }}""")
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return str(error).rpartition("[")[2]
    return "loads"


levels = ort.GraphOptimizationLevel
print(f"onnxruntime {ort.__version__}")
seen = {}
for opset in (20, 21, 23):
    for kind in ("uint8", "int8"):
        for level in (levels.ORT_ENABLE_BASIC, levels.ORT_ENABLE_EXTENDED):
            seen[opset, kind, level] = loads(opset, kind, level)
            print(f"opset {opset}  {kind:5}  {level.name:20}  {seen[opset, kind, level]}")
refused = {key for key, result in seen.items() if "does not match y_zero_point type UINT8" in result}
sys.exit(refused != {(opset, "int8", levels.ORT_ENABLE_EXTENDED) for opset in (21, 23)})
PY
