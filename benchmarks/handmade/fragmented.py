"""Forty small features, user and item in turn, each from an embedding or a number of its own, in one Concat and Gemm.

Split one by one they would be slower than not split. By hand: one product of all item columns, one of all user columns.
"""

from __future__ import annotations

import numpy as np

from benchmarks.handmade.family import Constants, Family, Weights

FEATURES, WIDTH, HIDDEN = 40, 16, 512
USERS, ITEMS = range(0, FEATURES, 2), range(1, FEATURES, 2)


def looked_up(i: int) -> bool:
    """Two of three come from an embedding, the third is a row of floats."""
    return i % 3 != 2


def signature(i: int) -> str:
    rows = 1 if i in USERS else "batch"
    return f"int64[{rows}] f{i}" if looked_up(i) else f"float[{rows}, {WIDTH}] x{i}"


EMBEDDED = "\n".join(f"x{i} = Gather (table{i}, f{i})" for i in range(FEATURES) if looked_up(i))

EXPORT = f"""
    {EMBEDDED}
    rows = Shape <start = 0, end = 1> (x1)
    shape = Concat <axis = 0> (rows, width)
    {" ".join(f"users{i} = Expand (x{i}, shape)" for i in USERS)}
    x = Concat <axis = 1> ({", ".join(f"users{i}" if i in USERS else f"x{i}" for i in range(FEATURES))})
    hidden = Gemm (x, W, b)
    y = Relu (hidden)"""

BY_HAND = f"""
    {EMBEDDED}
    user = Concat <axis = 1> ({", ".join(f"x{i}" for i in USERS)})
    item = Concat <axis = 1> ({", ".join(f"x{i}" for i in ITEMS)})
    once = Gemm (user, W_user, b)
    hidden = Gemm (item, W_item, once)
    y = Relu (hidden)"""


def family() -> Family:
    w = Weights()
    W = w.matrix(FEATURES * WIDTH, HIDDEN)  # noqa: N806
    cut = {
        side: np.concatenate([W[i * WIDTH : (i + 1) * WIDTH] for i in features])
        for side, features in (("W_user", USERS), ("W_item", ITEMS))
    }
    tables = {f"table{i}": w.table(WIDTH) for i in range(FEATURES)}
    inputs = ", ".join(map(signature, range(FEATURES)))
    constants: Constants = {"W": W, "b": w.bias(HIDDEN), "width": [WIDTH], **cut, **tables}
    return Family(f"({inputs}) => (float[batch, {HIDDEN}] y)", EXPORT, BY_HAND, constants)
