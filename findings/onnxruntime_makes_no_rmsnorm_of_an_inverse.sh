#!/usr/bin/env bash
# onnxruntime 1.32.0: RMSNorm is one node where the row is divided by its norm, and seven as PyTorch exports it.
#
# onnxruntime makes one node, SimplifiedLayerNormalization, of Pow, ReduceMean, Add, Sqrt, Div and Mul: that is
# x / sqrt(mean(x ^ 2) + epsilon) * weight. The same with the inverse of the norm, x * Reciprocal(sqrt(..)) * weight, is
# what torch.rsqrt becomes, by which Llama and its kin are written. All seven nodes of that are run one by one, and so
# are those of x / sqrt(..) where the square is x * x instead of a Pow.
#
# Seen: with a Div the optimized graph has 1 node, with a Reciprocal and a Mul it has 7, and with x * x it has 6.
# Exit status: 0 if the behaviour is as described, 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime as ort

CONSTANTS = "<float two = {2}, int64[1] axes = {-1}, float epsilon = {1e-5}, float[4] w = {1, 2, 3, 4}>"


def run(squares, last):
    """What onnxruntime makes of a norm: its operators, and the result."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["" : 18]> g (float[B, 4] x) => (float[B, 4] y) {CONSTANTS} {{
            {squares} m = ReduceMean (s, axes) t = Add (m, epsilon) n = Sqrt (t) {last} y = Mul (z, w) }}"""
    )
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = "optimized.onnx", 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    return [node.op_type for node in onnx.load("optimized.onnx").graph.node], session.run(None, {"x": x})[0]


print(f"onnxruntime {ort.__version__}")
forms = {
    "a quotient": ("s = Pow (x, two)", "z = Div (x, n)"),
    "an inverse": ("s = Pow (x, two)", "i = Reciprocal (n) z = Mul (x, i)"),
    "a product": ("s = Mul (x, x)", "z = Div (x, n)"),
}
found = {name: run(*form) for name, form in forms.items()}
for name, (operators, _) in found.items():
    print(f"{name:<11} {len(operators)}: {', '.join(operators)}")
results = [result for _, result in found.values()]
assert all(np.allclose(result, results[0], rtol=1e-6) for result in results), "they compute the same"
sys.exit([len(operators) for operators, _ in found.values()] != [1, 7, 6])
PY
