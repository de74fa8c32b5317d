"""MMoE: 8 experts and 3 gates, each a Linear of its own on the same [user item]; a tower for each of 3 tasks.

By hand: one product for all experts and gates, its user columns once; one product mixes the experts for all tasks.
"""

from __future__ import annotations

import numpy as np

from benchmarks.handmade.family import Constants, Family, Weights, expand, mlp

USER_FIELDS, ITEM_FIELDS, WIDTH = 20, 12, 16
USER, ITEM = USER_FIELDS * WIDTH, ITEM_FIELDS * WIDTH
EXPERTS, TASKS, EXPERT, TOWER = 8, 3, 128, 64

EXPORT = f"""
    {expand("user_ids", "users", "item_ids", USER_FIELDS)}
    ids = Concat <axis = 1> (users, item_ids)
    fields = Gather (table, ids)
    x = Flatten (fields)
    {
    " ".join(
        f'''
    expert{i}_g = Gemm <transB = 1> (x, expert{i}_W, expert{i}_b)
    expert{i}_h = Relu (expert{i}_g)
    expert{i} = Unsqueeze (expert{i}_h, one)'''
        for i in range(EXPERTS)
    )
}
    experts = Concat <axis = 1> ({", ".join(f"expert{i}" for i in range(EXPERTS))})
    {
    " ".join(
        f'''
    gate{t}_g = Gemm <transB = 1> (x, gate{t}_W, gate{t}_b)
    gate{t}_p = Softmax <axis = 1> (gate{t}_g)
    gate{t} = Unsqueeze (gate{t}_p, one)
    mixed{t}_m = MatMul (gate{t}, experts)
    mixed{t} = Squeeze (mixed{t}_m, one)
    {mlp(f"tower{t}", f"mixed{t}", f"logit{t}", 2)}
    score{t} = Sigmoid (logit{t})'''
        for t in range(TASKS)
    )
}"""

BY_HAND = f"""
    user_fields = Gather (table, user_ids)
    user = Flatten (user_fields)
    item_fields = Gather (table, item_ids)
    item = Flatten (item_fields)
    once = Gemm (user, W_user, b)
    all = Gemm (item, W_item, once)
    expert_g, gate_g = Split <axis = 1> (all, widths)
    expert_h = Relu (expert_g)
    experts = Reshape (expert_h, expert_shape)
    gates = Reshape (gate_g, gate_shape)
    gate = Softmax <axis = 2> (gates)
    mixed = MatMul (gate, experts)
    {
    " ".join(
        f'''
    mixed{t} = Gather <axis = 1> (mixed, task{t})
    {mlp(f"tower{t}", f"mixed{t}", f"logit{t}", 2)}
    score{t} = Sigmoid (logit{t})'''
        for t in range(TASKS)
    )
}"""


def family() -> Family:
    w = Weights()
    experts = [(w.matrix(USER + ITEM, EXPERT), w.bias(EXPERT)) for _ in range(EXPERTS)]
    gates = [(w.matrix(USER + ITEM, EXPERTS), w.bias(EXPERTS)) for _ in range(TASKS)]
    constants: Constants = {"table": w.table(WIDTH), "one": [1]}
    for name, layers in (("expert", experts), ("gate", gates)):
        for i, (matrix, bias) in enumerate(layers):
            constants |= {f"{name}{i}_W": matrix.T, f"{name}{i}_b": bias}
    for t in range(TASKS):
        constants |= w.layers(f"tower{t}", EXPERT, TOWER, 1) | {f"task{t}": t}
    packed = np.concatenate([matrix for matrix, _ in (*experts, *gates)], 1)
    constants |= {"W_user": packed[:USER], "W_item": packed[USER:]}
    constants |= {"b": np.concatenate([bias for _, bias in (*experts, *gates)])}
    constants |= {"widths": [EXPERTS * EXPERT, TASKS * EXPERTS]}
    constants |= {"expert_shape": [-1, EXPERTS, EXPERT], "gate_shape": [-1, TASKS, EXPERTS]}
    outputs = ", ".join(f"float[batch, 1] score{t}" for t in range(TASKS))
    signature = f"(int64[1, {USER_FIELDS}] user_ids, int64[batch, {ITEM_FIELDS}] item_ids) => ({outputs})"
    return Family(signature, EXPORT, BY_HAND, constants)
