#!/usr/bin/env bash
# quantize_dynamic of onnxruntime 1.32.0 writes a model that onnxruntime does not load, of one with ONNX's Attention.
#
#     y = Attention(q, k, v)        opset 23
#
# `Attention` is also the name of an operator of com.microsoft, which projects one input to queries, keys and values.
# The quantizer looks at the name alone: it takes k for the weight of a projection and v for its bias, and writes
# QAttention of com.microsoft. Attention is among the operators that it quantizes unless told otherwise.
#
# Seen: QAttention instead of Attention, and an error as the model is loaded. With `op_types_to_quantize=["MatMul"]` the
# model stays as it is, and loads.
# Exit status: 0 if the behaviour is as described, 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import logging
import sys

import onnx
import onnxruntime as ort
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.WARNING)
model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 23]>
g (float[B, 5, 8] q, float[B, 5, 8] k, float[B, 5, 8] v) => (float[B, 5, 8] y) {
    y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)
}""")
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")


def loads(path: str) -> str:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return f"is refused: {' '.join(str(error).split())[:110]}"
    return "loads"


print(f"onnxruntime {ort.__version__}")
print(f"as it is: {loads('model.onnx')}")
seen = {}
for name, given in (("all operators", {}), ("MatMul alone", {"op_types_to_quantize": ["MatMul"]})):
    quantize_dynamic("model.onnx", "quantized.onnx", **given)
    written = [node.op_type for node in onnx.load("quantized.onnx").graph.node]
    seen[name] = written, loads("quantized.onnx")
    print(f"{name}: {', '.join(written)} {seen[name][1]}")
wrong = "QAttention" in seen["all operators"][0] and seen["all operators"][1] != "loads"
right = seen["MatMul alone"] == (["Attention"], "loads")
sys.exit(not (loads("model.onnx") == "loads" and wrong and right))
PY
