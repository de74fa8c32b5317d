"""Numbers as people read them."""

from __future__ import annotations

import pytest

from mari_onnx.report.numbers import count, counted, known, microseconds, ratio, size, small


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(0), "0"),
        (count(950), "950"),
        (count(999.9), "1 k"),
        (count(12_345_678), "12.3 M"),
        (count(999_600_000), "1 G"),
        (count(5e15), "5,000 T"),
        (size(12), "12 B"),
        (size(1_636_722), "1.64 MB"),
        (microseconds(512.3), "512 µs"),
        (microseconds(1_234.5), "1.23 ms"),
        (small(0), "0"),
        (small(1.2345e-7), "1.2e-07"),
        (small(float("nan")), "nan"),
        (ratio(24, 8), "3.0 times less"),
        (ratio(100, 88), "12% less"),
        (ratio(100, 112), "12% more"),
        (ratio(1, 2), "2.0 times more"),
        (ratio(1000, 1001), "the same"),
        (ratio(0, 0), "the same"),
        (ratio(0, 5), ""),
        (ratio(5, 0), "none is left"),
    ],
)
def test_numbers(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_number_of_candidates() -> None:
    assert [counted(n) for n in (1, 2, 1000)] == ["1 candidate", "2 candidates", "1,000 candidates"]


def test_what_is_not_known() -> None:
    assert (known(None), known(0.5)) == ("-", "5.0e-01")
