"""Values of columns as arrays: the same numbers as Python's lists have, or an error that says which does not fit."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mari_onnx.errors import UserError
from mari_onnx.traffic.cells import Cells, Where, cells, check_type, depth, joined, padded
from mari_onnx.traffic.columns import Column
from mari_onnx.verification.inputs.draw import Input

WHERE = Where("a.parquet, row group 2", "clicks", 100)


def an_input(dtype: str = "int64", *dims: int | str) -> Input:
    return Input("x", np.dtype(dtype), ("B", *dims))


def of(values: Any, kind: Any, dtype: str = "int64", *dims: int | str, **how: Any) -> Cells:
    each = an_input(dtype, *dims)
    return cells(pa.array(values, kind), each, each.dims[1:], Column("clicks", **how), WHERE)


def refused(message: str, *given: Any, **how: Any) -> None:
    with pytest.raises(UserError, match=message):
        of(*given, **how)


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int64(), pa.uint16(), pa.float64(), pa.dictionary(pa.int8(), pa.int32())]
)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_numbers_of_any_type(kind: Any, dtype: str) -> None:
    found = of([1, 7, 0], kind, dtype).values
    assert (found.dtype, found.tolist()) == (np.dtype(dtype), [1, 7, 0])


def test_words_and_truths() -> None:
    assert of(["a", "bc"], pa.string(), "str").values.tolist() == ["a", "bc"]
    assert of(["a", "a"], pa.dictionary(pa.int8(), pa.string()), "str").values.tolist() == ["a", "a"]
    assert of([True, False], pa.bool_(), "bool").values.tolist() == [True, False]
    assert of([True, False], pa.bool_(), "float32").values.tolist() == [1, 0]


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.large_list(pa.int32()), pa.list_(pa.int64(), 2)])
def test_lists_of_one_length(kind: Any) -> None:
    found = of([[1, 2], [3, 4], [5, 6]], kind, "int64", 2)
    assert found.lengths is None
    assert found.values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert of([[1, 2], [3, 4]], kind, "int64", "L").values.tolist() == [[1, 2], [3, 4]]


def test_a_slice_has_its_own_values() -> None:
    array = pa.array([[9], [1, 2], [3, 4], [7]], pa.list_(pa.int64())).slice(1, 2)
    found = cells(array, an_input("int64", 2), (2,), Column("clicks"), WHERE)
    assert found.values.tolist() == [[1, 2], [3, 4]]


def test_lists_of_lists() -> None:
    found = of([[[1, 2], [3, 4]], [[5, 6]]], pa.list_(pa.list_(pa.int64())), "int64", 2, 2, pad=0)
    assert found.values.tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]
    refused(
        "lists within lists have several lengths", [[[1, 2], [3]]], pa.list_(pa.list_(pa.int64())), "int64", "L", "K"
    )


def test_extents_of_one_need_no_list() -> None:
    assert of([0.5, 1.5], pa.float64(), "float32", 1).values.tolist() == [[0.5], [1.5]]


@pytest.mark.parametrize("seed", range(20))
def test_padding_and_cutting_are_those_of_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [rng.integers(1, 9, rng.integers(0, 7)).tolist() for _ in range(5)]
    length, side, keep = int(rng.integers(1, 7)), rng.choice(["start", "end"]), rng.choice(["first", "last"])
    found = of(lists, pa.list_(pa.int64()), "int64", length, pad=0, side=side, keep=keep).values
    for row, values in zip(found.tolist(), lists, strict=True):
        kept = values[-length:] if keep == "last" else values[:length]
        fill = [0] * (length - len(kept))
        assert row == (fill + kept if side == "start" else kept + fill)


@pytest.mark.parametrize("seed", range(20))
def test_rows_joined_and_repeated_are_those_of_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [[7] * int(rng.integers(0 if seed % 2 else 3, 4)) for _ in range(6)]
    whole = of(lists, pa.list_(pa.int64()), "int64", "L")
    at, counts = int(rng.integers(1, 6)), rng.integers(0, 3, 6)

    def as_lists(given: Cells) -> list[Any]:
        if given.lengths is None:
            return list(given.values.tolist())
        return [given.values[a:b].tolist() for a, b in zip(given.offsets[:-1], given.offsets[1:], strict=True)]

    assert as_lists(joined([whole.rows(0, at), whole.rows(at, 6)])) == lists
    assert as_lists(whole.repeated(counts)) == [each for each, n in zip(lists, counts, strict=True) for _ in range(n)]
    one = of([[1, 2, 3]], pa.list_(pa.int64()), "int64", "L")
    assert as_lists(joined([one, whole])) == [[1, 2, 3], *lists]


def test_what_is_missing() -> None:
    where = r"a\.parquet, row group 2, column `clicks`, row 102: the value is missing"
    refused(where, [1, None], pa.int64())
    refused(where, [[1], None], pa.list_(pa.int64()), "int64", 1)
    refused(where, [[1, 2], [None, 4]], pa.list_(pa.int64()), "int64", 2)
    assert of([1, None], pa.int64(), null=-1).values.tolist() == [1, -1]
    assert of([[1], None], pa.list_(pa.int64()), "int64", 1, null=0, pad=5).values.tolist() == [[1], [5]]
    assert of([[1, None]], pa.list_(pa.int64()), "int64", 2, null=0).values.tolist() == [[1, 0]]
    refused("'x' is no int64", [1, None], pa.int64(), null="x")


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        ([1, 300], pa.int64(), "uint8"), ([1, -1], pa.int64(), "uint64"), ([1, 2**63], pa.uint64(), "int64"),
        ([1, 2**31], pa.int64(), "int32"), ([1, 0.5], pa.float64(), "int64"),
        ([1, float("nan")], pa.float32(), "int64"), ([1, 2.0**70], pa.float64(), "int64"), ([1, 2], pa.int64(), "bool"),
    ],
)  # fmt: skip
def test_numbers_that_the_type_does_not_have(values: Any, kind: Any, dtype: str) -> None:
    refused(rf"row 102: {re.escape(repr(values[1]))} is no {dtype}, which input `x` takes", values, kind, dtype)
    refused(r"row 101: ", [values], pa.list_(kind), dtype, 2)


def test_lists_that_need_padding_and_have_none() -> None:
    refused("row 102: a list of 1 values beside one of 2", [[1, 2], [3]], pa.list_(pa.int64()), "int64", 2)
    refused("row 101: a list of 3 values, and the model takes 2", [[1, 2, 3]], pa.list_(pa.int64()), "int64", 2)
    ragged = of([[1, 2], [3]], pa.list_(pa.int64()), "int64", "L")
    assert padded(ragged, 2, Column("clicks", pad=0), WHERE).tolist() == [[1, 2], [3, 0]]
    with pytest.raises(UserError, match="column `clicks`"):
        padded(ragged, 2, Column("clicks"), WHERE)


@pytest.mark.parametrize(
    ("value", "dtype", "step"),
    [
        (Decimal("1.5"), "float32", "Write it as the number"),
        (datetime(2026, 11, 30, tzinfo=UTC), "int64", "Write it as the number"),
        ("a", "int64", "The model takes int64"),
        (1, "str", "The model takes strings"),
        ({"a": 1}, "int64", "The model takes int64"),
        (b"a", "str", "The model takes strings"),
    ],
)
def test_types_that_are_no_inputs(value: object, dtype: str, step: str) -> None:
    for kind in (pa.scalar(value).type, pa.list_(pa.scalar(value).type)):
        with pytest.raises(UserError, match=rf"column `clicks` of a\.parquet holds .*input `x` does not take\n{step}"):
            check_type(kind, an_input(dtype), "clicks", "a.parquet")


def test_depth() -> None:
    assert [depth(kind) for kind in (pa.int64(), pa.list_(pa.int64(), 3), pa.large_list(pa.list_(pa.int8())))] == [
        0,
        1,
        2,
    ]
