"""In tests the intermediate representation is checked after each step, and the first plan has to pass."""

from __future__ import annotations

from mari_onnx import attempts
from mari_onnx.ir import validate

validate.ENABLED = True

attempts.TRIES = 0
