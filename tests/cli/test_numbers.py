"""Numbers on the command line: several of them, and numbers of bytes."""

from __future__ import annotations

import click
import pytest

from mari_onnx.cli.numbers import Bytes, Numbers


@pytest.mark.parametrize("given", ["1,10, 500", (1, 10, 500), [1, 10, 500]])
def test_numbers(given: object) -> None:
    assert Numbers().convert(given, None, None) == (1, 10, 500)


@pytest.mark.parametrize("given", ["", "0", "1,,2", "-1", "1.5", "many", [], [0]])
def test_what_is_no_number(given: object) -> None:
    with pytest.raises(click.BadParameter, match="whole numbers from 1 on"):
        Numbers().convert(given, None, None)


@pytest.mark.parametrize(
    ("given", "bytes_"), [("7", 7), (7, 7), ("200MB", 2 * 10**8), ("1.5 GB", 15 * 10**8), ("3k", 3000), ("0", 0)]
)
def test_bytes(given: object, bytes_: int) -> None:
    assert Bytes().convert(given, None, None) == bytes_


@pytest.mark.parametrize("given", ["", "-1", "MB", "1TB", "1,5MB", "much"])
def test_what_is_no_number_of_bytes(given: object) -> None:
    with pytest.raises(click.BadParameter, match="as in 200MB"):
        Bytes().convert(given, None, None)
