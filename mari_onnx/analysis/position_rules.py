"""Integers that are computed from positions, operator by operator (see `positions`).

Range(0, T)                        the position
CumSum(ones)                       the position plus 1
[0 1 2 ...], stored and sliced     the position, of as many numbers as there are
Shape(x)[1]                        an extent: L + 1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from mari_onnx.analysis.interval import Interval
from mari_onnx.analysis.positions import Affine, Window, along, constant, never_negative
from mari_onnx.analysis.windows import Use, is_cut_by_numbers, is_known_move
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Poly

INTEGERS = (TensorProto.INT32, TensorProto.INT64)
"""The element types of positions. Floats do not tell large ones apart."""

LARGEST_FACTOR: dict[int, int] = {TensorProto.INT32: 4, TensorProto.INT64: 2**30}
"""The largest number by which a length or a position is multiplied, by the element type."""

Rule: TypeAlias = Callable[[Use], "Affine | None"]


def exactly(t: Tensor, interval: Interval) -> Affine | None:
    """The integer that each element is: a position, or one number for all of them."""
    if interval.exact is not None or t.dtype not in INTEGERS or not interval.low.size:
        return interval.exact
    number = interval.low.flat[0]
    one = np.isfinite(number) and np.all(interval.low == number) and np.all(interval.high == number)
    return constant(int(number)) if one else None


def position(use: Use) -> Affine | None:
    """The integer that each element of the window is; None where it is not known."""
    rule = RULES.get(use.node.op_type) if use.tensor.dtype in INTEGERS and is_known_move(use.tensor) else None
    found = rule(use) if rule is not None else None
    known = found is not None and is_of(found, use.window) and _fits(found, use.tensor.dtype)
    return found if known else None


def _fits(number: Affine, dtype: int) -> bool:
    """Whether an integer type holds the number, if axes are shorter than 2**28."""
    factors = [abs(step) for step in number.steps.values()]
    for monomial, factor in number.constant.terms if isinstance(number.constant, Poly) else (((), number.constant),):
        if len(monomial) > 1 or abs(factor) > 2**30:
            return False
        factors += [abs(factor)] * len(monomial)
    return all(factor <= LARGEST_FACTOR[dtype] for factor in factors)


def is_of(number: Affine, window: Window) -> bool:
    """Whether the number is computed from the indices of a window alone."""
    return set(number.steps) <= {index for stretch in window for index in stretch.indices}


def of_extents(t: Tensor) -> Affine | None:
    """The extent in a tensor of one extent."""
    content = t.node.payload
    return constant(content.item()) if content.size == 1 else None


def of_stored(array: npt.NDArray[Any], window: Window) -> Affine | None:
    """Stored integers in equal steps along each dimension, such as [0 1 2 ...]."""
    if array.dtype.kind not in "iu" or array.size < 2:
        return None
    first = int(array.flat[0])
    steps = [int(array.take(1, d).flat[0]) - first if n > 1 else 0 for d, n in enumerate(array.shape)]
    grid = np.ogrid[tuple(map(slice, array.shape))]
    if not np.array_equal(array, first + sum(step * at for step, at in zip(steps, grid, strict=True))):
        return None
    found = constant(first)
    for stretch, step in zip(window, steps, strict=True):
        found = found + along(stretch, step)
    return found


def _operands(use: Use) -> list[Affine] | None:
    found = [exactly(use.input(i), interval) for i, interval in enumerate(use.inputs)]
    known = [number for number in found if number is not None]
    return known if len(known) == len(found) else None


def _range(use: Use) -> Affine | None:
    given = _operands(use)
    if given is None or not isinstance(step := given[2].constant, int):
        return None
    return given[0] + along(use.window[0], step)


def _counted(use: Use) -> Affine | None:
    """CumSum of one number, from the first to this place."""
    number, axis = (exactly(use.input(i), x) for i, x in enumerate(use.inputs))
    if number is None or axis is None or number.steps or not isinstance(number.constant, int):
        return None
    if not isinstance(axis.constant, int) or use.attribute("reverse", 0):
        return None
    before = 0 if use.attribute("exclusive", 0) else number.constant
    return along(use.window[axis.constant % use.rank], number.constant) + constant(before)


def _sum(use: Use) -> Affine | None:
    given = _operands(use)
    return None if given is None else sum(given[1:], given[0])


def _difference(use: Use) -> Affine | None:
    given = _operands(use)
    return None if given is None else given[0] - given[1]


def _negative(use: Use) -> Affine | None:
    given = _operands(use)
    return None if given is None else given[0].times(-1)


def _product(use: Use) -> Affine | None:
    given = _operands(use)
    for number, factor in (given, given[::-1]) if given is not None else ():
        if not factor.steps and isinstance(factor.constant, int):
            return number.times(factor.constant)
    return None


def _extreme(sign: int) -> Rule:
    """The operand that is the largest (1) or the smallest (-1) in all of the window."""

    def rule(use: Use) -> Affine | None:
        given = _operands(use) or []
        for number in given:
            if all(never_negative((number - other).times(sign), use.window) for other in given):
                return number
        return None

    return rule


def _same(use: Use) -> Affine | None:
    """The same number, where a move reads the window itself."""
    return exactly(use.input(0), use.inputs[0])


def _sliced(use: Use) -> Affine | None:
    return None if is_cut_by_numbers(use.tensor, use.window) else _same(use)


def _joined(use: Use) -> Affine | None:
    """The number of the one operand that has all of the window."""
    return use.inputs[0].exact if len(use.inputs) == 1 else None


RULES: Mapping[str, Rule] = {
    "Range": _range,
    "CumSum": _counted,
    "Add": _sum,
    "Sub": _difference,
    "Neg": _negative,
    "Mul": _product,
    "Max": _extreme(1),
    "Min": _extreme(-1),
    **dict.fromkeys(("Cast", "Identity", "Reshape", "Transpose", "Expand"), _same),
    "Slice": _sliced,
    "Concat": _joined,
}
"""By operator: the integer that each element is, None where it is not known."""
