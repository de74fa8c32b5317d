"""Each product has a remark that says on which axes it is computed, and what that saves."""

from __future__ import annotations

import pytest

from mari_onnx.analysis.reasons import EARLIER, TOWER
from mari_onnx.analysis.remarks import AHEAD, VARIES
from tests.graphs import STYLES, Rewritten, integers, parse, ranking, rewrite, rewrite_and_check


def test_remarks_say_what_and_why() -> None:
    model = ranking("one", "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)", w=integers(7, 2), b=integers(2))
    (remark,) = [r for r in rewrite(model, batch=1000).remarks if r.rule == "product"]
    assert (remark.status, remark.op_type, remark.tensor) == ("applied", "Gemm", "y")
    assert (remark.macs_before, remark.macs_after) == (14_000, 6_008)
    assert remark.reason == "14,000 multiply-adds become 6,008"
    assert remark.forms == "[B 2] = user () + item (B)"


@pytest.mark.parametrize(
    ("body", "reason", "step"),
    [
        ("y = MatMul (item, w)", f"{VARIES}: it is computed from the candidates' inputs alone", AHEAD),
        ("h = MatMul (user_row, w) y = Add (h, item)", "computed once for the request already", None),
    ],
)
def test_remarks_on_what_stays(body: str, reason: str, step: str | None) -> None:
    text = f"g (float[1, 3] user_row, float[B, 3] item) => (float[B, 3] y) {{ {body} }}"
    (remark,) = rewrite_and_check(parse(text, w=integers(3, 3))).remarks
    assert (remark.status, remark.reason, remark.next_step) == ("as is", reason, step)


def test_a_node_without_its_first_output_is_named_by_the_next() -> None:
    """The last state of a cell, of which the history is not wanted."""
    body = ", last = GRU <hidden_size = 3, layout = 1> (user, w, r) y = Neg (last)"
    w, r = integers(1, 9, 4), integers(1, 9, 3)
    model = ranking("one", body, user="float[5, 4]", output="float[B, 1, 3] y", w=w, r=r)
    (remark,) = [r for r in rewrite(model).remarks if r.op_type == "GRU"]
    assert (remark.status, remark.tensor) == ("refused", "last")


def product(result: Rewritten, tensor: str = "y") -> tuple[str, str, str | None]:
    """Status, reason and next step of the only remark on a product."""
    (found,) = [(r.status, r.reason, r.next_step) for r in result.remarks if r.tensor == tensor]
    return found


@pytest.mark.parametrize("style", STYLES)
def test_a_product_names_the_node_that_needs_both(style: str) -> None:
    body = "x = Concat <axis = 1> (user, item) a = MatMul (x, w) h = Relu (a) n = Neg (h) y = MatMul (n, v)"
    result = rewrite_and_check(ranking(style, body, w=integers(7, 4), v=integers(4, 2)))
    reason = f"{VARIES}: `h` (Relu) needs the user's values and the candidates' together"
    step = f"layers that read the user alone run once where they come before `h`: {TOWER}"
    assert product(result) == ("as is", reason, step)


def test_a_product_far_behind_a_node_without_a_rule_names_it() -> None:
    """Also where other nodes on the way need the user's values and the candidates' together."""
    body = """r = Relu (user) m = Reshape (r, square) d = Det (m) q = Unsqueeze (d, one)
        z = Mul (q, item) x = Concat <axis = 1> (z, user) a = Softmax (x) b = Mul (a, x) y = MatMul (b, w)"""
    result = rewrite(ranking("one", body, square=[-1, 2, 2], one=[1], w=integers(7, 2)))
    reason = f"{VARIES}: `d` (Det) is left as it is: no rule for ai.onnx.Det"
    assert product(result) == ("as is", reason, EARLIER)


def test_a_product_names_the_node_that_works_along_the_candidates() -> None:
    body = "s = Softmax <axis = 0> (user) y = MatMul (s, w)"
    result = rewrite_and_check(ranking("one", body, w=integers(4, 2)), rtol=1e-5)
    step = "layers that read the user alone run once where they come before `s`"
    assert product(result)[1:] == (f"{VARIES}: `s` (Softmax) works along the candidates", step)


def test_a_product_of_both_sides() -> None:
    body = "a = Unsqueeze (user, one) b = Unsqueeze (item, two) y = MatMul (b, a)"
    model = ranking("one", body, item="float[4]", output="float[B, 4, 4] y", one=[1], two=[2])
    assert product(rewrite_and_check(model))[1] == "it multiplies the user's values by the candidates'"


def test_a_product_that_does_not_pay_to_split() -> None:
    body = "x = Concat <axis = 1> (user, item) y = MatMul (x, w)"
    status, reason, step = product(rewrite(ranking("one", body, w=integers(7, 2)), batch=2))
    assert (status, step) == ("as is", "a larger --batch, if calls have more candidates")
    assert reason.startswith("a part of its input is the user's, but one product of all of it takes less time for 2")


def test_a_refused_product_names_what_stopped_its_input() -> None:
    """Its own reason comes first."""
    text = "g (float[1, 4] user, float[B, 4] item, int64[2] s) => (float[B, 2] y)"
    body = "n = Shape (item) e = Expand (user, n) r = Reshape (e, s) z = Neg (r) y = MatMul (z, w)"
    status, reason, step = product(rewrite(parse(f"{text} {{ {body} }}", w=integers(4, 2))))
    assert status == "refused"
    assert reason.startswith("the width ")
    assert reason.endswith("`r` (Reshape) is left as it is: the target shape is computed from data")
    assert step is not None


def test_products_whose_rules_say_nothing_have_a_remark() -> None:
    body = """t = Unsqueeze (item, zero_) g, l = GRU <hidden_size = 2> (t, w, r)
        s = Squeeze (l, zero_) y = Concat <axis = 1> (s, user)"""
    model = ranking("one", body, w=integers(1, 6, 3), r=integers(1, 6, 2), zero_=[0])
    result = rewrite_and_check(model, rtol=1e-5)
    (remark,) = [r for r in result.remarks if r.op_type == "GRU"]
    assert (remark.status, remark.reason) == ("as is", f"{VARIES}: it is computed from the candidates' inputs alone")
    assert remark.macs_before == remark.macs_after > 0
