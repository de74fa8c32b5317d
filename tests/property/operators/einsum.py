"""Einsum of one operand, of two, and of more."""

from __future__ import annotations

import numpy as np

from mari_onnx.ir.extents import Extent
from tests.property.graphs import UnfitError, Writer
from tests.property.operators.ranges import count


def einsum(w: Writer) -> None:
    _write(w, w.between(1, 2))


def of_several(w: Writer) -> None:
    """Three operands or four, which onnxruntime multiplies one after the other."""
    _write(w, w.between(3, 4))


def _write(w: Writer, operands: int) -> None:
    if w.opset < 12:
        raise UnfitError
    letters: dict[str, Extent] = {}
    tensors = [w.floats(1) for _ in range(operands)]
    if len(tensors) == 2 and isinstance(tensors[0].shape[-1], int) and w.chance(30):
        tensors[1] = w.numbers([tensors[0].shape[-1], *(w.between(1, 3) for _ in range(w.between(1, 2)))])
    terms = []
    for made in tensors:
        term = ""
        for extent in made.shape:
            same = [a for a, e in letters.items() if e == extent and a not in term]
            if same and w.chance(70):
                term += w.choice(same)
            else:
                term += "abcdefghijklmnopqrst"[len(letters)]
                letters[term[-1]] = extent
        terms.append(term)
    left = [a for a in letters if w.chance(65)]
    if w.chance(40):
        left.reverse()
    gone = [letters[a] for a in letters if a not in left]
    bound = int(np.prod([m.size for m in tensors], dtype=object)) * count(gone)
    equation = ",".join(terms) + "->" + "".join(left)
    w.write("Einsum", tensors, [letters[a] for a in left], (-bound, bound), equation=equation)
