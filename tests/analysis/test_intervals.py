"""What is known of tensors before any call: constants that operators compute, and bounds of what inputs may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.analysis.interval import Interval
from mari_onnx.analysis.intervals import Intervals
from tests.graphs import integers, ranking, rewrite


def interval(body: str, tensor: str = "t", *, opset: int = 17, **constants: Any) -> Interval:
    """The interval of a tensor in a graph of a user and items."""
    body = f"{body} rest = Concat <axis = 1> (user, item) y = MatMul (rest, w)"
    used = {name: a for name, a in {"w": integers(7, 2), **constants}.items() if name in body}
    program = rewrite(ranking("one", body, opset=opset, **used)).program
    return program.context.intervals.of(program.values[tensor].array.tensor)


def test_a_constant_that_operators_compute() -> None:
    """Trilu has no rule: onnx's reference implementation computes it."""
    found = interval("tri = Trilu <upper = 0> (ones3) none = Equal (tri, nought) t = Where (none, filler, nought)",
                     ones3=np.ones((3, 3), np.float32), nought=np.float32(0), filler=np.float32(-np.inf))  # fmt: skip
    np.testing.assert_array_equal(found.low, np.where(np.tri(3), 0, -np.inf))
    assert found.is_known


def test_operands_that_do_not_broadcast() -> None:
    """The shape of the bias is that of no row of the product, which shape inference does not see behind a Gelu."""
    body = "h = com.microsoft.Gelu (user) t = Gemm (h, v, bias)"
    found = interval(body, v=integers(4, 4), bias=integers(4, 2))
    assert (found.low.max(), found.high.min()) == (-np.inf, np.inf)


def test_positions_that_are_compared() -> None:
    body = "row = Range (start, stop, step) column = Unsqueeze (row, last) t = LessOrEqual (row, column)"
    found = interval(body, start=np.array(0), stop=np.array(4), step=np.array(1), last=[1])
    np.testing.assert_array_equal(found.high, np.tri(4))


def test_an_input_may_be_any_number() -> None:
    found = interval("t = Neg (user)")
    assert (found.low.max(), found.high.min()) == (-np.inf, np.inf)


def test_a_mask_with_an_unknown_part() -> None:
    found = interval("there = Greater (user, nought) t = And (there, stored)",
                     nought=np.float32(0), stored=np.array([True, False, True, False]))  # fmt: skip
    np.testing.assert_array_equal(found.high.reshape(-1), [1, 0, 1, 0])
    assert not found.low.any()


@pytest.mark.parametrize(
    ("body", "bound"),
    [
        ("t = LayerNormalization <axis = -1> (user, scale4, shift4)", 2 * 3 + 1),
        ("s = Sigmoid (user) t = MatMul (s, weight)", 4 * 3),
        ('s = Sigmoid (user) t = Einsum <equation = "bd,dn->bn"> (s, weight)', 4 * 3),
        ('s = Sigmoid (user) o = Unsqueeze (s, second) t = Einsum <equation = "bnd,bd->b"> (o, s)', 4),
        ("t = Tanh (user)", 1),
        ("sq = Mul (user, user) mean = ReduceMean <axes = [1]> (sq) e = Add (mean, little) r = Sqrt (e) "
         "i = Reciprocal (r) t = Mul (user, i)", 2),
        ("sq = Pow (user, two) mean = ReduceMean <axes = [1]> (sq) e = Add (mean, little) r = Sqrt (e) "
         "t = Div (user, r)", 2),
    ],
    ids=["layer norm", "linear", "einsum", "einsum of two sides", "tanh", "rms norm", "rms norm by a division"],
)  # fmt: skip
def test_what_bounds_a_tensor(body: str, bound: float) -> None:
    found = interval(body, scale4=np.full(4, 3, np.float32), shift4=np.ones(4, np.float32), two=np.float32(2),
                     second=[1], weight=np.full((4, 2), 3, np.float32), little=np.float32(1e-6))  # fmt: skip
    assert found.magnitude.max() == pytest.approx(bound, rel=1e-5)


def test_an_exponential_of_what_is_far_below_0() -> None:
    """exp(-103) is 1.4e-45, and exp(-105) is 0."""
    body = "s = Tanh (user) a = Add (s, stored) t = Exp (a)"
    found = interval(body, stored=np.array([-np.inf, -105, -103, 0], np.float32))
    np.testing.assert_array_equal(found.high.reshape(-1) == 0, [True, True, False, False])
    np.testing.assert_array_equal(found.low.reshape(-1) > 0, [False, False, False, True])
    assert found.high.max() == pytest.approx(np.e, rel=0.02)


def test_what_a_rule_knows_of_a_tensor() -> None:
    body = "t = Neg (user) rest = Concat <axis = 1> (user, item) y = MatMul (rest, w)"
    program = rewrite(ranking("one", body, w=integers(7, 2))).program
    known, tensor = Intervals(program.context.array_of, 17), program.values["t"].array.tensor
    known.at_least[tensor] = -3.0
    assert (known.of(tensor).low.min(), known.of(tensor).high.max()) == (-3, np.inf)


def test_a_row_divided_by_the_mean_of_another_is_not_bounded() -> None:
    body = """c = Transpose (user) x = MatMul (c, user) sq = Mul (x, x) mean = ReduceMean <axes = [1]> (sq)
        e = Add (mean, little) r = Sqrt (e) turned = Reshape (r, across) t = Div (x, turned)"""
    assert interval(body, little=np.float32(1e-6), across=[1, 4]).magnitude.max() == np.inf


def test_a_negative_epsilon_bounds_nothing() -> None:
    body = """sq = Mul (user, user) mean = ReduceMean <axes = [1]> (sq) e = Add (mean, little) r = Sqrt (e)
        t = Div (user, r)"""
    assert interval(body, little=np.float32(-0.5)).magnitude.max() == np.inf


def test_ids_are_looked_up_in_a_table_of_numbers() -> None:
    found = interval("ids = Cast <to = 7> (user) rows = Gather (table, ids) t = Flatten (rows)",
                     table=np.array([[1, -2], [3, 4]], np.float32))  # fmt: skip
    assert (float(found.low.min()), float(found.high.max())) == (-2, 4)


def test_half_precision_has_no_number_beyond_its_largest() -> None:
    body = "low = Mul (stored, many) t = Cast <to = 10> (low)"
    found = interval(body, stored=np.array([-1, -2], np.float32), many=np.float32(1e9))
    assert np.all(found.high == -np.inf)


def test_zeros_times_numbers_of_any_size() -> None:
    found = interval("z = Mul (user, nought) turned = Transpose (user) t = MatMul (z, turned)", nought=np.float32(0))
    assert (float(found.low.max()), float(found.high.min())) == (0, 0)


def test_numbers_that_are_quantized_dynamically() -> None:
    """255 steps over the range of the numbers, times the weights less their zero points."""
    body = """s = Sigmoid (user) q, t, z = DynamicQuantizeLinear (s) i = MatMulInteger (q, weight, z, zeros)
        f = Cast <to = 1> (i) u = Mul (f, t)"""
    given: dict[str, Any] = {"weight": np.array([[3], [-3], [3], [3]], np.int8), "zeros": np.array([1], np.int8)}
    assert interval(body, "t", **given).high.max() == 1, "where all are 0"
    assert interval(body, "i", **given).high.max() == 255 * (2 + 4 + 2 + 2)
    assert interval(body, "u", **given).high.max() == 255 * 10


def test_integers_whose_scale_is_computed() -> None:
    found = interval(
        "x = Exp (user) m = ReduceMax <keepdims = 0> (x) t = QuantizeLinear (x, m, z)", z=np.array(3, np.int8)
    )
    assert (found.low.min(), found.high.max()) == (-128, 127)
