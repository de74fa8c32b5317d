"""Places of tensors: the same elements as a slice has, and no copy where there is a piece already."""

from __future__ import annotations

import numpy as np
import pytest

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import symbol
from mari_onnx.planning.kernels.places import place
from mari_onnx.planning.kernels.site import FLOAT, Site

BATCH = symbol("B")


@pytest.fixture
def site() -> Site:
    return Site(Builder(), 17, lambda proto: np.zeros(list(proto.dims)))


def given(site: Site, name: str, *shape: int) -> Tensor:
    return site.b.input(name, (BATCH, *shape), FLOAT)


def test_a_piece_of_a_concat(site: Site) -> None:
    a, c = given(site, "a", 1, 8), given(site, "c", 1, 8)
    both = site.b.make("Concat", [a, c], (BATCH, 2, 8), axis=1)
    assert place(site, both, 1, 1, through=False) is site.b.reshape(c, (BATCH, 8))


def test_columns_that_were_reshaped(site: Site) -> None:
    a, c = given(site, "a", 8), given(site, "c", 8)
    both = site.b.reshape(site.b.make("Concat", [a, c], (BATCH, 16), axis=1), (BATCH, 2, 8))
    assert place(site, both, 1, 0, through=False) is a


def test_a_copy(site: Site) -> None:
    found = place(site, given(site, "x", 3, 8), 1, 2, through=True)
    assert (found.op_type, found.shape) == ("Gather", (BATCH, 8))


def test_through_an_operator(site: Site) -> None:
    """An operand that repeats along the axis, or does not have it, is read as it is."""
    x, gate = given(site, "x", 3, 8), given(site, "gate", 1, 8)
    y = site.b.make("Mul", [x, gate], (BATCH, 3, 8))
    bias = site.b.constant(np.ones(8, np.float32))
    found = place(site, site.b.make("Add", [y, bias], (BATCH, 3, 8)), 1, 2, through=True)
    assert (found.op_type, found.shape, found.node.inputs[1]) == ("Add", (BATCH, 8), bias)
    scaled = found.node.inputs[0]
    assert scaled is not None
    assert scaled.node.inputs == (place(site, x, 1, 2, through=False), site.b.reshape(gate, (BATCH, 8)))
