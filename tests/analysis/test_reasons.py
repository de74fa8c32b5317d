"""A chain of reasons goes on as long as something of a value lacks the candidates; then a node has stopped it."""

from __future__ import annotations

from mari_onnx.analysis.reasons import EARLIER, TOWER
from mari_onnx.ir.forms import Stop, Value
from tests.graphs import integers, ranking, rewrite

BODY = """e = Relu (user) x = Concat <axis = 1> (e, item) h = Softmax (x) d = Abs (h) m = Reshape (e, square)
    det = Det (m) t = Unsqueeze (det, one_) k = Neg (t) f = Neg (item)
    p = MatMul (d, w) q = Add (p, t) r = Mul (f, k) y = Concat <axis = 1> (q, r)"""


def values() -> dict[str, Value]:
    return rewrite(ranking("one", BODY, one_=[1], w=integers(7, 2), square=[-1, 2, 2])).program.values


def stops() -> dict[str, Stop | None]:
    return {name: value.stopped for name, value in values().items()}


def test_what_lacks_the_candidates_has_a_chain() -> None:
    found = values()
    assert [r.split("(")[0] for r in found["e"].because[:2]] == ["Relu", "Expand"]
    assert found["x"].because[0] == "Concat(e, item)"
    assert found["f"].because == ()


def test_the_node_that_ends_a_chain_is_handed_on() -> None:
    found = stops()
    assert found["e"] is None
    assert found["f"] is None
    assert found["d"] is not None
    assert str(found["d"]) == "`h` (Softmax) needs the user's values and the candidates' together"
    assert found["d"].next_step == f"layers that read the user alone run once where they come before `h`: {TOWER}"


def test_a_node_that_is_left_as_it_is() -> None:
    found = stops()
    assert found["t"] == Stop("det", "Det", "is left as it is: no rule for ai.onnx.Det", EARLIER, left=True)
    assert found["k"] == found["t"]
