from __future__ import annotations

import numpy as np

from mari_onnx.verification.inputs import LENGTH, REQUESTS, Bounds, Input, batch_symbols, draw, extents

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
