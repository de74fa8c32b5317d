"""A wide MLP over [user item].

By hand: the first layer is `Gemm(item, W_item, C = Gemm(user, W_user, bias))`.
"""

from __future__ import annotations

from benchmarks.handmade.family import Family, Weights, expand, mlp

USER, ITEM, WIDTHS = 4000, 500, (512, 256, 1)

EXPORT = f"""
    {expand("user", "users", "item", USER)}
    x = Concat <axis = 1> (users, item)
    {mlp("fc", "x", "score", 3)}"""

BY_HAND = f"""
    once = Gemm (user, W_user, fc_b1)
    g = Gemm (item, W_item, once)
    h = Relu (g)
    {mlp("fc", "h", "score", 3, first=2)}"""


def family() -> Family:
    fc = Weights().layers("fc", USER + ITEM, *WIDTHS)
    cut = {"W_user": fc["fc_W1"][:USER], "W_item": fc["fc_W1"][USER:]}
    signature = f"(float[1, {USER}] user, float[batch, {ITEM}] item) => (float[batch, 1] score)"
    return Family(signature, EXPORT, BY_HAND, {**fc, **cut})
