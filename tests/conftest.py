"""In tests the intermediate representation is checked after each step."""

from __future__ import annotations

from mari_onnx.ir import validate

validate.ENABLED = True
