#!/usr/bin/env bash
# torch 2.13.0 and onnxruntime 1.32.0: torch.eye(n, dtype=torch.bool), exported by the TorchScript-based exporter, is an
# EyeLike of booleans, for which onnxruntime has no kernel.
#
# The diagonal of a mask is often written so: each token of a sequence attends to itself, also where it is padding. The
# export raises no error and onnx's checker passes the model. onnxruntime does not load it. torch.ones(n, n,
# dtype=torch.bool).tril() in the same mask is a Trilu, which it does load.
#
# Seen: "Could not find an implementation for EyeLike(9)"; the same model with torch.eye(n) == 1 loads and runs.
# Exit status: 0 if the behaviour is as described, 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 onnxruntime==1.32.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PY'
import sys
import warnings

import onnx
import onnxruntime as ort
import torch

warnings.simplefilter("ignore")


class Masked(torch.nn.Module):
    def __init__(self, diagonal):
        super().__init__()
        self.diagonal = diagonal

    def forward(self, scores, there):
        seen = there[:, None, :] | self.diagonal(scores.shape[-1])
        return scores.masked_fill(~seen, -torch.inf).softmax(-1)


def loads(diagonal):
    path = f"{sys.argv[1]}/model.onnx"
    inputs = torch.zeros(2, 4, 4), torch.ones(2, 4, dtype=torch.bool)
    torch.onnx.export(
        Masked(diagonal), inputs, path, dynamo=False, opset_version=17, input_names=["scores", "there"],
        dynamic_axes={"scores": {0: "batch", 1: "length", 2: "length"}, "there": {0: "batch", 1: "length"}},
    )
    onnx.checker.check_model(path, full_check=True)
    try:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        return str(error).partition(" with node")[0]
    session.run(None, {"scores": inputs[0].numpy(), "there": inputs[1].numpy()})
    return "runs"


print(f"torch {torch.__version__}, onnxruntime {ort.__version__}")
found = [loads(lambda n: torch.eye(n, dtype=torch.bool)), loads(lambda n: torch.eye(n) == 1)]
print("torch.eye(n, dtype=torch.bool):", found[0])
print("torch.eye(n) == 1:             ", found[1])
sys.exit(not ("implementation for EyeLike" in found[0] and found[1] == "runs"))
PY
