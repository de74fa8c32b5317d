"""Each product has a remark that says on which axes it is computed, and what that saves."""

from __future__ import annotations

import pytest

from tests.graphs import integers, parse, ranking, rewrite, rewrite_and_check


def test_remarks_say_what_and_why() -> None:
    model = ranking("one", "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)", w=integers(7, 2), b=integers(2))
    (remark,) = [r for r in rewrite(model, batch=1000).remarks if r.rule == "product"]
    assert (remark.status, remark.op_type, remark.tensor) == ("applied", "Gemm", "y")
    assert (remark.macs_before, remark.macs_after) == (14_000, 6_008)
    assert remark.reason == "14,000 multiply-adds become 6,008"
    assert remark.forms == "[B 2] = user () + item (B)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = MatMul (item, w)", "every row and every column of it varies with the candidate"),
        ("h = MatMul (user_row, w) y = Add (h, item)", "computed once for the request already"),
    ],
)
def test_remarks_on_what_stays(body: str, reason: str) -> None:
    text = f"g (float[1, 3] user_row, float[B, 3] item) => (float[B, 3] y) {{ {body} }}"
    (remark,) = rewrite_and_check(parse(text, w=integers(3, 3))).remarks
    assert (remark.status, remark.reason) == ("as is", reason)


def test_a_node_without_its_first_output_is_named_by_the_next() -> None:
    """The last state of a cell, of which the history is not wanted."""
    body = ", last = GRU <hidden_size = 3, layout = 1> (user, w, r) y = Neg (last)"
    w, r = integers(1, 9, 4), integers(1, 9, 3)
    model = ranking("one", body, user="float[5, 4]", output="float[B, 1, 3] y", w=w, r=r)
    (remark,) = [r for r in rewrite(model).remarks if r.op_type == "GRU"]
    assert (remark.status, remark.tensor) == ("refused", "last")
