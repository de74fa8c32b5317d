"""Boolean indexing as exporters write it: rows that a mask selects, and what is put back in their places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graphs import STYLES, Rewritten, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
thresholds = pytest.mark.parametrize("threshold", [-100.0, 0.0, 100.0], ids=["all", "some", "none"])

CONSTANTS: dict[str, Any] = {"last": [1], "two": [1, 2], "flat": [-1], "zero_": [0]}
MASK = "total = ReduceSum <keepdims = 0> (user, last) mask = Greater (total, threshold)"
PLACES = "found = NonZero (mask) places = Transpose <perm = [1, 0]> (found)"
"""x[mask], with a mask of the user's rows."""


def model(style: str, body: str, threshold: float = 0.0, **more: Any) -> Any:
    constants: dict[str, Any] = {**CONSTANTS, "threshold": np.float32(threshold), "w": integers(4, 3), **more}
    return ranking(
        style, body, item=more.pop("item", "float[4]"), **{k: v for k, v in constants.items() if k != "item"}
    )


def once(result: Rewritten, name: str) -> bool:
    """Whether a value is known without the candidates."""
    return "B" not in map(str, result.program.values[name].array.tensor.known_shape)


@styles
@thresholds
def test_rows_and_their_way_back(style: str, threshold: float) -> None:
    """zeros[mask] = f(user[mask]) is Where(mask, f(user), zeros): f runs once for each request."""
    body = f"""
        {MASK} {PLACES} picked = GatherND (user, places) h = MatMul (picked, w) r = Relu (h)
        shape = Shape (user) wide = Gather (shape, zero_) width = Shape (bias) to = Concat <axis = 0> (wide, width)
        zeros = ConstantOfShape (to) back = ScatterND (zeros, places, r) y = Concat <axis = 1> (back, item)
    """
    result = rewrite_and_check(model(style, body, threshold, bias=integers(3)))
    assert once(result, "r")
    assert once(result, "back")
    assert "NonZero" not in result.ops
    assert "ScatterND" not in result.ops


@styles
@thresholds
def test_every_place_of_the_rows(style: str, threshold: float) -> None:
    """masked_select and masked_scatter list every place of a selected row; TorchScript slices what it puts back."""
    body = f"""
        {MASK} m2 = Unsqueeze (mask, last) shape = Shape (user) m = Expand (m2, shape)
        found = NonZero (m) places = Transpose <perm = [1, 0]> (found)
        x = GatherND (user, places) picked = Reshape (x, fours) h = Mul (picked, c) r = Relu (h)
        listed = Reshape (r, flat) all = Shape (places) count = Gather (all, zero_)
        cut = Slice (listed, zero_, count, zero_) back = ScatterND (item, places, cut)
        y = Mul (back, c)
    """
    result = rewrite_and_check(model(style, body, threshold, fours=[-1, 4], c=integers(4)))
    assert once(result, "r")
    assert "ScatterND" not in result.ops


@styles
@thresholds
def test_rows_of_both_sides(style: str, threshold: float) -> None:
    """What is the candidates' is computed where it is, and meets the user's rows there."""
    body = f"""
        {MASK} {PLACES} picked = GatherND (user, places) items = GatherND (item, places) h = MatMul (picked, v)
        both = Mul (h, items) zeros = Sub (item, item) y = ScatterND (zeros, places, both)
    """
    result = rewrite_and_check(model(style, body, threshold, v=integers(4, 4)))
    assert once(result, "h")
    assert ("ScatterND" not in result.ops) == (style == "one")


@thresholds
def test_a_mask_of_the_candidates(threshold: float) -> None:
    body = """
        total = ReduceSum <keepdims = 0> (item, last) mask = Greater (total, threshold)
        found = NonZero (mask) places = Transpose <perm = [1, 0]> (found)
        picked = GatherND (user, places) h = MatMul (picked, v) y = ScatterND (item, places, h)
    """
    result = rewrite_and_check(model("one", body, threshold, v=integers(4, 4)))
    assert once(result, "h")
    assert "ScatterND" not in result.ops


def test_numbers_as_a_mask() -> None:
    """Whatever is not zero counts, as NonZero has it."""
    body = "total = ReduceSum <keepdims = 0> (user, last) mask = Identity (total)" + PLACES
    body += " picked = GatherND (user, places) y = ScatterND (item, places, picked)"
    result = rewrite_and_check(model("requests", body))
    assert "ScatterND" not in result.ops


@pytest.mark.parametrize("style", ["one", "requests"])
def test_ids_that_the_mask_leaves_out_are_not_looked_up(style: str) -> None:
    """A history that is empty may hold what is no id at all."""
    body = """
        mask = Less (user, limit) found = NonZero (mask) places = Transpose <perm = [1, 0]> (found)
        ids = GatherND (user, places) x = Gather (table, ids) h = Mul (x, c)
        wide = Shape (item) zeros = ConstantOfShape (wide) back = ScatterND (zeros, places, h) y = Add (back, item)
    """
    constants: dict[str, Any] = {**CONSTANTS, "limit": np.int64(2), "table": integers(2, 4), "c": integers(4)}
    rewrite_and_check(ranking(style, body, user="int64[]", item="float[4]", **constants))


def refused(body: str, **more: Any) -> list[str]:
    result = rewrite_and_check(model("one", body, **more))
    return [r.reason for r in result.remarks if r.status == "refused"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            f"{MASK} {PLACES} picked = GatherND (user, places) "
            'y = ScatterND <reduction = "add"> (item, places, picked)',
            "ScatterND that adds to what is there",
        ),
        (
            "total = ReduceSum <keepdims = 0> (item, last) mask = Greater (total, threshold)"
            f"{PLACES} i = GatherND (item, places) s = MatMul (user, v) r = GatherND (s, places) t = Add (i, r)"
            "n = CumSum (t, first) y = ScatterND (user, places, n)",
            "ScatterND of rows that are known for the selected ones alone",
        ),
        (
            f"{MASK} {PLACES} picked = GatherND (user, places) twice = Add (places, places) h = Div (twice, two_)"
            "y = ScatterND (item, h, picked)",
            "ScatterND to places that are computed, and are not those of a mask",
        ),
        (
            "m = Greater (user, threshold) found = NonZero (m) places = Transpose <perm = [1, 0]> (found)"
            "x = GatherND (user, places) y = ScatterND (item, places, x)",
            "NonZero of a mask that differs along more than its first dimension",
        ),
        (
            f"{MASK} m2 = Unsqueeze (mask, last) m = Expand (m2, some) f = NonZero (m) places = Transpose (f)"
            "x = GatherND (user, places) y = ScatterND (item, places, x)",
            "GatherND of some places in each of the rows that a mask selects",
        ),
    ],
)  # fmt: skip
def test_refusals(body: str, reason: str) -> None:
    assert reason in refused(body, first=np.int64(0), v=integers(4, 4), two_=np.int64(2), some=[1, 2])


@styles
@pytest.mark.parametrize("picked", ["user", "item"])
def test_rows_from_other_places_are_refused(style: str, picked: str) -> None:
    """Each selected row gets what another one has."""
    body = f"""
        total = ReduceSum <keepdims = 0> (item, last) mask = Greater (total, threshold) {PLACES}
        others = Min (places, first) x = GatherND ({picked}, others) h = Relu (x) y = ScatterND (item, places, h)
    """
    result = rewrite_and_check(model(style, body, first=np.int64(0)))
    if picked == "item" or style == "requests":  # one row for all is the same row at all places
        assert result.refusals("ScatterND") == ["ScatterND of rows that are known for the selected ones alone"]


def test_rows_of_another_value_are_refused() -> None:
    """Of which there may be more than of the target's."""
    text = """g (float[1, 4] user, float[B, 4] item, float[A, 4] other) => (float[B, 4] y) {
        total = ReduceSum <keepdims = 0> (item, last) mask = Greater (total, threshold)
        found = NonZero (mask) places = Transpose <perm = [1, 0]> (found)
        picked = GatherND (other, places) h = Mul (picked, user) y = ScatterND (item, places, h)
    }"""
    assert "ScatterND" in rewrite_and_check(parse(text, last=[1], threshold=np.float32(0))).ops


def test_rows_of_another_extent_are_refused() -> None:
    """ScatterND into more rows than the mask has."""
    text = """g (float[1, 4] user, float[B, 4] item, float[A, 4] other) => (float[A, 4] y) {
        total = ReduceSum <keepdims = 0> (item, last) mask = Greater (total, threshold)
        found = NonZero (mask) places = Transpose <perm = [1, 0]> (found)
        picked = GatherND (item, places) h = Mul (picked, user) y = ScatterND (other, places, h)
    }"""
    result = rewrite(parse(text, last=[1], threshold=np.float32(0)))
    assert "ScatterND" in result.ops


def test_the_graph() -> None:
    """The product is of all requests' rows, and the mask says of which the result is."""
    body = f"{MASK} {PLACES} x = GatherND (user, places) h = MatMul (x, w) y = ScatterND (item, places, h)"
    result = rewrite_and_check(model("requests", body, item="float[3]", output="float[B, 3] y"))
    assert result.graph == [
        "total.user [R] = ReduceSum (rows, last)",
        "mask.user [R] = Greater (total.user, threshold)",
        "mask.user.gather [B] = Gather (mask.user, index)",
        "h.user [R 3] = MatMul (rows, w)",
        "h.user.gather [B 3] = Gather (h.user, index)",
        "mask.user.reshape [B 1] = Reshape (mask.user.gather)",
        "y [B 3] = Where (mask.user.reshape, h.user.gather, item)",
    ]


def test_the_same_mask_twice_selects_the_same_rows() -> None:
    """In two widths: every place of a row is listed, in one as two and in the other as three."""
    body = """k = Unsqueeze (item, last) e = Expand (k, two) f = Expand (k, three) m = NonZero (e) n = NonZero (f)
        a = Cast <to = 1> (m) b = Cast <to = 1> (n) r = ReduceSum (a) s = ReduceSum (b) t = Add (r, s)
        y = Add (user, t)"""
    rewrite_and_check(
        ranking("one", body, item="float[]", output="float[B, 4] y", last=[1], two=[1, 2], three=[1, 3])
    )  # fmt: skip
