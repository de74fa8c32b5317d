"""An If runs once for the request where its branches read what is the same for all candidates."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.ir.extents import symbol
from tests.graphs import Rewritten, evaluate, integers, parse, rewrite

B = symbol("B")
STYLES = pytest.mark.parametrize("style", ["one", "tiled"])

ROWS = {
    "one": (
        "float[1, 4] row",
        "n = Shape (item) b = Gather (n, zero_) t = Concat <axis = 0> (b, one_) user = Expand (row, t)",
    ),
    "tiled": ("float[B, 4] user", ""),
}


def model(style: str, then: str, other: str, **constants: Any) -> onnx.ModelProto:
    """A ranker whose `h` is that of one of two branches, by a flag. `r` is the user's, and `k` the item's."""
    rows, prelude = ROWS[style]
    text = f"""g ({rows}, bool[1] flag, float[B, 4] item) => (float[B, 2] y) {{ {prelude}
        r = Relu (user) k = Neg (item) rows = Shape (item)
        h = If (flag) <then_branch = a () => (float[B, 4] p) {{ {then} }},
                       else_branch = b () => (float[B, 4] q) {{ {other} }}>
        x = Concat <axis = 1> (h, item) y = MatMul (x, w) }}"""
    used = {name: value for name, value in constants.items() if re.search(rf"\b{name}\b", text)}
    return parse(text, w=integers(8, 2), v=integers(4, 4), zero_=[0], one_=[1], **used)


def run(proto: onnx.ModelProto, style: str) -> Rewritten:
    """The rewritten model, compared with the original for both values of the flag."""
    result = rewrite(proto)
    for flag in (False, True):
        for batch in (1, 2, 7):
            row = integers(1, 4, seed=batch)
            given = {"row": row} if style == "one" else {"user": np.repeat(row, batch, 0)}
            given |= {"flag": np.array([flag]), "item": integers(batch, 4, seed=9)}
            for want, got in zip(evaluate(proto, given), evaluate(result.model, given), strict=True):
                np.testing.assert_array_equal(got, want)
    return result


def stored(result: Rewritten, name: str) -> Any:
    return result.program.values[name].array.tensor.known_shape


@STYLES
def test_branches_of_the_user(style: str) -> None:
    result = run(model(style, "p = MatMul (r, v)", "q = Add (user, r)"), style)
    assert B not in stored(result, "h")
    assert not any(r.status == "refused" for r in result.remarks)
    assert result.program.values["h"].because


@STYLES
def test_zeros_of_as_many_rows(style: str) -> None:
    result = run(model(style, "like = Shape (r) p = ConstantOfShape (like)", "q = Neg (r)"), style)
    assert B not in stored(result, "h")


MIXED = "a branch of If is not known to treat candidates independently"


@STYLES
@pytest.mark.parametrize(
    ("then", "other", "reason"),
    [
        ("p = Add (r, k)", "q = Neg (r)", "If reads `k`, which differs from candidate to candidate"),
        ("m = ReduceMean <axes = [0]> (r) p = Sub (r, m)", "q = Neg (r)", MIXED),
        ("p = Neg (r)", "q = CumSum (r, nought)", MIXED),
        ("p = Neg (r)", "q = Expand (some, rows)", "a branch of If counts the candidates by `rows`"),
        ("p = Neg (r)", "q = Identity (some)", "the branches of If give results of different extents"),
    ],
)
def test_branches_of_the_candidates(style: str, then: str, other: str, reason: str) -> None:
    proto = model(style, then, other, nought=np.int64(0), some=integers(1, 4))
    result = rewrite(proto) if "Identity" in other else run(proto, style)
    assert result.refusals("If") == [reason]


def test_a_product_behind_it_names_it() -> None:
    result = rewrite(model("one", "p = Add (r, k)", "q = Neg (r)"))
    (product,) = [r for r in result.remarks if r.tensor == "y"]
    assert product.reason.endswith("`h` (If) is left as it is: If reads `k`, which differs from candidate to candidate")


def test_a_value_of_unknown_rank() -> None:
    text = """g (float[1, 4] row, bool[1] flag, float[B, 4] item, int64[N] dims) => (float[B, 4] y) {
        s = Shape (item) user = Expand (row, s) r = Relu (user) k = Reshape (r, dims)
        h = If (flag) <then_branch = a () => (float[B, 4] p) { p = Identity (r) },
                       else_branch = b () => (float[B, 4] q) { q = Neg (k) }>
        y = Add (h, item) }"""
    assert rewrite(parse(text)).refusals("If") == ["If reads a value of unknown rank"]


def test_the_graph() -> None:
    """The If and what it reads, for one row, and the product for each candidate."""
    result = run(model("tiled", "p = MatMul (r, v)", "q = Neg (r)"), "tiled")
    assert result.graph == [
        "user.user [row:0 4] = Slice (user)",
        "r.user [row:0 4] = Relu (user.user)",
        "h.user [row:0 4] = If (flag)",
        "y.user [row:0 2] = Gemm (h.user, w.user)",
        "y [B 2] = Gemm (item, w.item, y.user)",
    ]
