"""The walk names what a rule made, and notes of which value it is a form and which rule that was."""

from __future__ import annotations

from mari_onnx.document.provenance import Origin
from tests.graphs import integers, ranking, rewrite

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) r = Identity (h) y = Relu (r)"


def test_names_and_origins_agree() -> None:
    context = rewrite(ranking("tiled", BODY, w=integers(7, 64), b=integers(64))).program.context
    noted = {tensor.name: origin for tensor, origin in context.origins.items()}
    assert noted["h"] == Origin("h", "whole", "linear")
    assert noted["h.user"] == Origin("h", "sum", "linear")
    assert noted["user.user"] == Origin("user", "user", "rows")
    assert "r" not in noted  # the same tensor as `h`, which has its name already


def test_a_value_without_candidates() -> None:
    body = "u = Relu (user) h = Add (u, item) y = Neg (h)"
    context = rewrite(ranking("tiled", body, item="float[4]")).program.context
    noted = {tensor.name: origin for tensor, origin in context.origins.items()}
    assert noted["u.user"] == Origin("u", "user", "elementwise")
    assert noted["h"].form == "whole"
