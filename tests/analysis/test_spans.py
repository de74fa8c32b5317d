"""What a Slice takes of an axis whose extent, or whose limit, is a symbol."""

from __future__ import annotations

import pytest

from mari_onnx.analysis.spans import END, Span, long_enough
from mari_onnx.ir.axes import new_dims
from mari_onnx.ir.extents import Extent, symbol

L, B = symbol("L"), symbol("B")


@pytest.mark.parametrize(
    ("start", "stop", "extent", "found"),
    [
        (-1, END, L + 1, (L, L + 1)),
        (L, END, L + 1, (L, L + 1)),
        (0, -1, L + 1, (0, L)),
        (1, 9, 4, (1, 4)),
        (-9, 2, 4, (0, 2)),
        (0, L + 2, L + 1, (0, L + 1)),
        (0, 1, L, None),  # of no tokens it is none
        (-2, END, L + 1, None),
        (0, L, 4, None),
        (L * -1, END, L + 1, None),  # x[-0:] is everything
        (3, 2, 4, None),
    ],
)
def test_limits(start: Extent, stop: Extent, extent: Extent, found: tuple[Extent, Extent] | None) -> None:
    span = Span(1, start, stop).within(extent)
    assert (span and (span.start, span.stop)) == found


@pytest.mark.parametrize(
    ("span", "extent", "may_be"),
    [
        (Span(0, 0, L), 1024, True),
        (Span(0, 2, L + 2), 1024, True),
        (Span(0, 0, L), 1, False),  # one row broadcasts
        (Span(0, 2, L + 2), 3, False),
        (Span(0, 0, 4), 1024, False),
        (Span(0, 0, L), B, False),
        (Span(0, 0, L - 1), 1024, False),  # x[:-1] of a history of no tokens
    ],
)
def test_what_may_be_cut_short(span: Span, extent: Extent, may_be: bool) -> None:
    assert span.may_be_cut_short(extent) == may_be


def test_what_another_operand_proves() -> None:
    rows, tokens = symbol("rows"), L + 1
    table, x, other = new_dims([rows, 8]), new_dims([B, tokens, 8]), new_dims([B, L, 8])
    assert set(long_enough([x, table], {"rows": tokens})) == {"rows"}
    assert not long_enough([other, table], {"rows": tokens})
    assert not long_enough([new_dims([B, tokens, 1, 8]), table], {"rows": tokens})
    assert not long_enough([x, table], {"other": tokens})
