"""An operand of a product: an array together with the dims of the value that it holds.

The layout of an array does not tell in which dimensions of the value the axes stand that the array lacks. Example: a
weight stored as (k n) may hold a value [k n], or a value [h k n] that repeats along h.
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
