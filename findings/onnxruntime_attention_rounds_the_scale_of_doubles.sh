#!/usr/bin/env bash
# onnxruntime 1.32.0: Attention of doubles multiplies by a scale that was rounded to float32.
#
# The operator multiplies queries and keys by the root of 1 / sqrt(head size). onnx's own interpreter (1.23.2) has that
# root in the type of the queries. onnxruntime has it in float32 also where they are doubles: its result is that of
# float32(sqrt(float32(1) / sqrt(float32(head size)))), to the last bits of a double. So a model of doubles is off by
# as much as one of floats, 1e-8 of its values and more, and a comparison in float64 with the same attention written
# out in MatMul, Mul and Softmax fails at 1e-10. A head size of 16 or 256, whose root is a float32, shows nothing.
#
# Seen: at a head size of 8 onnxruntime is 4e-8 from the interpreter and 2e-16 from the formula with the float32 root;
# at 16 it is 3e-16 from both.
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
from onnx.reference import ReferenceEvaluator


def by_formula(x, root):
    scores = (x * root) @ (x * root).swapaxes(-1, -2)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ x


print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}")
apart = {}
for size in (8, 16):
    shape = f"double[1, 1, 5, {size}]"
    model = onnx.parser.parse_model(
        f'<ir_version: 11, opset_import: ["" : 23]> g ({shape} x) => ({shape} y) {{ y = Attention (x, x, x) }}'
    )
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).standard_normal((1, 1, 5, size))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": x})[0]
    interpreted = ReferenceEvaluator(model).run(None, {"x": x})[0]
    rounded = by_formula(x, float(np.sqrt(np.float32(1) / np.sqrt(np.float32(size)))))
    apart[size] = [float(np.abs(found - other).max()) for other in (interpreted, rounded)]
    print(f"head size {size}: {apart[size][0]:.0e} from onnx's interpreter, {apart[size][1]:.0e} from a float32 root")
sys.exit(not (apart[8][0] > 1e-9 and apart[8][1] < 1e-14 and max(apart[16]) < 1e-14))
PY
