"""An operand of a product: an array together with the dims that it is seen with.

An array does not say of which dimensions the axes that it lacks are. A weight (k n) may be seen as (h k n), and one
piece of a value has an axis of its own where the value has the axis of all pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

from mari_onnx.ir.axes import Dims
from mari_onnx.ir.forms import Array


@dataclass(frozen=True)
class Operand:
    """An array, and the dims of the value, or of the piece of a value, that it holds."""

    array: Array
    dims: Dims
