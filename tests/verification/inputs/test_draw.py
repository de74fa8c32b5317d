from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest

from mari_onnx.errors import UserError
from mari_onnx.verification.inputs.cases import Style
from mari_onnx.verification.inputs.draw import (
    LENGTH,
    REQUESTS,
    Bounds,
    Input,
    batch_symbols,
    draw,
    edges,
    extents,
    inputs_of,
    listed_rows,
    own_batch,
)

Array = npt.NDArray[Any]

INT, FLOAT = np.dtype("int64"), np.dtype("float32")


def bounds(low: int, high: int) -> Bounds:
    return Bounds(np.array(low), np.array(high))


def test_every_leading_symbol_is_the_batch() -> None:
    inputs = [Input("a", INT, ("unk__1", 1)), Input("b", FLOAT, ("unk__2", "length")), Input("c", INT, (1, "length"))]
    assert extents(inputs, 7) == {"unk__1": 7, "unk__2": 7, "length": LENGTH}


def test_requests_and_lengths_are_not_the_batch() -> None:
    inputs = [Input("user", INT, ("n",)), Input("item", INT, ("B", "L")), Input("mask", INT, ("L",))]
    assert extents(inputs, 7, {"n"}) == {"n": REQUESTS, "B": 7, "L": LENGTH}


def test_candidates_on_an_inner_axis() -> None:
    assert batch_symbols([Input("user", FLOAT, (1, 8)), Input("items", FLOAT, (1, "n", 8))]) == {"n"}


@pytest.mark.parametrize(
    ("shapes", "outputs", "listed"),
    [
        ([["R", 24], ["R", "L", 4], ["R", "N", 8]], [["R", "N"]], "N"),
        ([[1, 24], [1, "N", 8]], [[1, "N"], [1, "N", 2]], "N"),
        ([["R", 24], ["N"], ["R", "N", 8]], [["R", "N"]], "N"),
        ([["R", 24], ["R", "N", 8]], [["R", "N"], ["R", 2]], None),
        ([["R", 24], ["N", 4], ["R", "N", 8], ["N", "N"]], [["R", "N"]], None),
        ([["R", "N", 24], ["R", "N", 8]], [["R", "N"]], None),
        ([["R", 24], ["R", "N", 8]], [["R", None]], None),
        ([[], ["R", 8]], [["R", 8]], None),
        ([["R", 24], ["R", 8]], [["R", 8]], None),
    ],
    ids=[
        "a length beside it",
        "one request",
        "one of each place",
        "an output without it",
        "it leads as well",
        "no request",
        "not named",
        "a scalar",
        "features",
    ],
)
def test_the_candidates_of_a_listwise_model(
    shapes: list[list[int | str | None]], outputs: list[list[int | str | None]], listed: str | None
) -> None:
    session = Mock()
    session.get_inputs.return_value = [
        SimpleNamespace(name=f"x{i}", type="tensor(float)", shape=s) for i, s in enumerate(shapes)
    ]
    session.get_outputs.return_value = [SimpleNamespace(shape=s) for s in outputs]
    inputs = inputs_of(session)
    assert {each.listed for each in inputs} == {listed}
    if listed is not None:
        assert batch_symbols(inputs) == {"N"}
        assert listed_rows(inputs) == {each.rows for each in inputs} - {None, listed}


def test_the_number_of_candidates_of_lists_of_one_length() -> None:
    """It is that of a call of one request; the requests of a call are drawn as candidates are elsewhere."""
    inputs = [Input("user", FLOAT, ("R", 24), 50), Input("item", FLOAT, ("R", 50, 8), 50)]
    assert batch_symbols(inputs) == listed_rows(inputs) == {"R"}
    assert own_batch(inputs) is None
    assert own_batch([replace(each, dims=(1, *each.dims[1:])) for each in inputs]) == 50


def test_an_input_that_no_memory_holds() -> None:
    with pytest.raises(UserError, match=r"input `x` of shape \[2, 1099511627776, 1024\] is larger than any memory"):
        draw([Input("x", FLOAT, (2, 1 << 40, 1 << 10))], {}, {}, np.random.default_rng(0))


def test_ids_fill_their_range_and_rows_differ() -> None:
    each = Input("id", INT, ("B",))
    ids = draw([each], {"id": bounds(0, 999)}, {"B": 64}, np.random.default_rng(0))["id"]
    assert ids.min() >= 0
    assert ids.max() == 999
    assert len(np.unique(ids)) > 55


def test_histories_end_in_padding() -> None:
    each = Input("history", INT, ("B", 50))
    ids = draw([each], {"history": bounds(0, 999)}, {"B": 16}, np.random.default_rng(0))["history"]
    assert (ids[:, -1] == 0).all()
    assert (ids[:, :20] != 0).mean() > 0.95
    assert ids.max() == 999


def test_the_rows_of_a_tiled_input_are_one() -> None:
    inputs = [Input("user", FLOAT, ("B", 3)), Input("item", FLOAT, ("B", 3))]
    for batch in (0, 1, 8):
        feeds = draw(inputs, {}, {"B": batch}, np.random.default_rng(0), tiled={"user"})
        assert feeds["user"].shape == (batch, 3)
        assert (feeds["user"] == feeds["user"][:1]).all()
        assert len(np.unique(feeds["item"], axis=0)) == batch


def test_each_column_has_bounds_of_its_own() -> None:
    each = Input("ids", INT, ("B", 2))
    columns = Bounds(np.array([[0, 5]]), np.array([[1, 6]]))
    ids = draw([each], {"ids": columns}, {"B": 40}, np.random.default_rng(0))["ids"]
    assert set(ids[:, 0].tolist()) == {0, 1}
    assert set(ids[:, 1].tolist()) == {5, 6}


def test_other_types() -> None:
    inputs = [Input("flag", np.dtype(bool), ("B",)), Input("word", np.dtype(str), ("B",)), Input("one", INT, ())]
    feeds = draw(inputs, {}, {"B": 4}, np.random.default_rng(0))
    assert feeds["flag"].dtype == bool
    assert feeds["word"].dtype == object
    assert feeds["one"].shape == ()


def styled(style: Style, inputs: list[Input], ranges: dict[str, Bounds], **given: Any) -> dict[str, Array]:
    return draw(inputs, ranges, {"B": 7, "n": 1}, np.random.default_rng(0), style=style, **given)


EVERY = [
    Input("id", INT, ("B",)),
    Input("history", INT, ("B", 8)),
    Input("x", FLOAT, ("B", 4)),
    Input("half", np.dtype("float16"), ("B",)),
    Input("user", FLOAT, (1, 4)),
    Input("mask", np.dtype(bool), ("B", 4)),
]
RANGES = {"id": bounds(1, 99), "history": bounds(0, 50)}


def test_largest_ids() -> None:
    feeds = styled("largest ids", EVERY, RANGES)
    assert (feeds["id"] == 99).all() and (feeds["history"] == 50).all()
    assert len(np.unique(feeds["x"])) > 20


def test_padding_empties_histories_alone() -> None:
    feeds = styled("padding", EVERY, RANGES)
    assert not feeds["history"].any()
    assert feeds["id"].all() and feeds["x"].all()


def test_zeros_are_as_near_to_zero_as_may_be() -> None:
    feeds = styled("zeros", EVERY, RANGES)
    assert (feeds["id"] == 1).all()
    assert not any(feeds[name].any() for name in ("history", "x", "half", "user", "mask"))


def test_one_feature_of_each_row_is_large() -> None:
    feeds = styled("large", EVERY, RANGES)
    many = np.column_stack([feeds["x"], feeds["half"]])
    assert ((np.abs(many) >= 30).sum(axis=1) == [0, 1, 1, 1, 1, 1, 1]).all()
    assert (
        np.abs(feeds["x"]).max() == 1000 and np.abs(feeds["half"]).max() == 30
    )  # which sums of have a place in float16
    assert (np.abs(many[1:]) >= 30).any(axis=0).all()
    assert np.abs(feeds["user"]).max() < 10


def test_one_feature_of_each_row_is_not_finite() -> None:
    feeds = draw(EVERY, RANGES, {"B": 64}, np.random.default_rng(0), style="not finite")
    many = np.column_stack([feeds["x"], feeds["half"]])
    assert ((~np.isfinite(many)).sum(axis=1) == [0, *[1] * 63]).all()
    for kind in (np.isnan, np.isposinf, np.isneginf):
        assert kind(many).any(axis=0).all()
    assert np.isfinite(feeds["user"]).all()


@pytest.mark.parametrize("style", ["large user", "not finite user"])
@pytest.mark.parametrize("tiled", [(), ("x",)])
def test_one_feature_of_a_user(style: Style, tiled: tuple[str, ...]) -> None:
    feeds = styled(style, EVERY, RANGES, tiled=tiled)
    users = np.column_stack([feeds["x"][:1], feeds["user"]]) if tiled else feeds["user"]
    assert (~(np.abs(users) < 10)).sum() == 1
    assert tiled or (np.abs(feeds["x"]) < 10).all()
    assert np.array_equal(feeds["x"], np.repeat(feeds["x"][:1], 7, 0), equal_nan=True) == bool(tiled)


@pytest.mark.parametrize("tiled", [(), ("x",)])
def test_all_features_are_far_from_zero(tiled: tuple[str, ...]) -> None:
    feeds, usual = (styled(style, EVERY, RANGES, tiled=tiled) for style in ("far", "drawn"))
    for name, far in (("x", 2.0**20), ("user", 2.0**20), ("half", 2.0**6)):
        np.testing.assert_array_equal(feeds[name], usual[name] + usual[name].dtype.type(far))
    assert (feeds["id"] == usual["id"]).all()


def test_features_near_what_is_taken_from_them() -> None:
    centre = {"x": np.array([1000.0, -30, 0, 7])}
    feeds, usual = (styled(style, EVERY, RANGES, centres=centre) for style in ("centred", "drawn"))
    np.testing.assert_array_equal(feeds["x"], usual["x"] + centre["x"].astype(np.float32))
    np.testing.assert_array_equal(feeds["half"], usual["half"])


def test_only_the_edge_cases_that_mean_something() -> None:
    sizes = {"B": 2}
    assert edges(EVERY, RANGES, sizes, ()) == [
        "largest ids", "padding", "zeros", "large", "large user", "not finite", "not finite user", "far",
    ]  # fmt: skip
    assert edges(EVERY[:1], RANGES, sizes, ()) == ["largest ids", "zeros"]
    assert edges(EVERY[2:3], {}, sizes, ()) == ["zeros", "large", "not finite", "far"]
    assert edges(EVERY[2:3], {}, sizes, {"x"}) == ["zeros", "large user", "not finite user", "far"]


def test_features_in_a_range() -> None:
    ranges = {"x": Bounds(np.array(0.25), np.array(0.75), whole=False)}
    x = styled("drawn", EVERY, ranges)["x"]
    assert 0.25 <= x.min() < 0.35 < 0.65 < x.max() <= 0.75
    assert (styled("zeros", EVERY, ranges)["x"] == 0.25).all()
