"""Lists of numbers on the command line."""

from __future__ import annotations

import click
import pytest

from mari_onnx.cli.numbers import Numbers


@pytest.mark.parametrize("given", ["1,10, 500", (1, 10, 500), [1, 10, 500]])
def test_numbers(given: object) -> None:
    assert Numbers().convert(given, None, None) == (1, 10, 500)


@pytest.mark.parametrize("given", ["", "0", "1,,2", "-1", "1.5", "many", [], [0]])
def test_what_is_no_number(given: object) -> None:
    with pytest.raises(click.BadParameter, match="whole numbers from 1 on"):
        Numbers().convert(given, None, None)
