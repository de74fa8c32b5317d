"""Attention with heads: products whose columns are (h d) are had for each head, and then no head is moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.ir.attention_heads import Heads
from mari_onnx.ir.axes import Axis
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.forms import Array
from tests.graphs import LENGTH, STYLES, Rewritten, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)

HEADS, SIZE, STEPS = 2, 4, 6
CONSTANTS: dict[str, Any] = {
    **{f"w{p}": integers(4, HEADS * SIZE, seed=i) for i, p in enumerate("qkv")},
    **{f"b{p}": integers(HEADS * SIZE, seed=i) for i, p in enumerate("qkv")},
    **{f"c{p}": integers(STEPS, 1, seed=i) for i, p in enumerate("qkv")},
    "one": [1],
    "two": np.array(2, np.float32),
    "heads": [-1, STEPS, HEADS, SIZE],
    "lines": [-1, 4],
    "whole": [-1, STEPS, HEADS * SIZE],
    "mask": integers(1, 1, STEPS, STEPS, seed=7),
    "packed": integers(4, 3 * HEADS * SIZE),
    "biases": integers(3 * HEADS * SIZE, seed=1),
    "wide": integers(4, 8, seed=2),
    "narrow": np.eye(8, 4, dtype=np.float32),
    "three": [-1, STEPS, 3, HEADS * SIZE],
    **{f"n{i}": np.array(i) for i in range(3)},
}
OF_THE_USER = "u0 = MatMul (user, wide) u1 = MatMul (u0, narrow) u2 = MatMul (u1, wide) u = MatMul (u2, narrow)"
"""What the user's steps save pays for a bias that is a row of the weight."""
STEPS_OF_BOTH = f"{OF_THE_USER} i = Unsqueeze (item, one) x = Concat <axis = 1> (u, i)"
STEPS_THAT_VARY = f"{OF_THE_USER} i = Unsqueeze (item, one) x = Mul (u, i)"

LINEARS = {
    "no bias": "{p}m = MatMul (x, w{p})",
    "bias": "{p}0 = MatMul (x, w{p}) {p}m = Add (b{p}, {p}0)",
    "bias of a row": "{p}0 = MatMul (x, w{p}) {p}m = Sub ({p}0, c{p})",
    "scaled": "{p}0 = MatMul (x, w{p}) {p}m = Mul ({p}0, two)",
    "of its own columns": "{p}0 = MatMul (x, w{p}) {p}1 = Mul ({p}0, b{p}) {p}m = Add ({p}1, two)",
    "gemm": "{p}x = Reshape (x, lines) {p}m = Gemm ({p}x, w{p}, b{p})",
    "gemm, turned": "{p}x = Reshape (x, lines) {p}t = Transpose (w{p}) {p}m = Gemm <transB = 1> ({p}x, {p}t, b{p})",
}

BY_SHORT_RUNS = ["bias of a row", "of its own columns"]


PACKED = {
    "no bias": "a = MatMul (x, packed)",
    "bias": "a0 = MatMul (x, packed) a = Add (a0, biases)",
    "bias first": "a0 = MatMul (x, packed) a = Add (biases, a0)",
    "gemm": "l = Reshape (x, lines) a = Gemm (l, packed, biases)",
    "gemm, and rows again": "l = Reshape (x, lines) g = Gemm (l, packed, biases) a = Reshape (g, whole3)",
    "scaled": "a0 = MatMul (x, packed) a = Mul (a0, two)",
    "bias of a row": "a0 = MatMul (x, packed) a = Sub (a0, cq)",
    "of its own columns": "a0 = MatMul (x, packed) a1 = Mul (a0, biases) a = Add (a1, two)",
}
"""Queries, keys and values as one product, and how they are taken out of it."""
TAKEN = {
    "split": "qm, km, vm = Split <axis = -1> (a)",
    "gathered": "a3 = Reshape (a, three) at = Transpose <perm = [2, 0, 1, 3]> (a3) "
    + " ".join(f"{p}m = Gather (at, n{i})" for i, p in enumerate("qkv")),
}


def attention(steps: str, linear: str, between: str = "r = Relu (s)") -> str:
    """Softmax is left out to stay exact."""
    linears = " ".join(linear.format(p=p) for p in "qkv") if "{p}" in linear else linear
    return f"""
        {steps} {linears}
        {" ".join(f"{p}h = Reshape ({p}m, heads)" for p in "qkv")}
        q = Transpose <perm = [0, 2, 1, 3]> (qh)
        k = Transpose <perm = [0, 2, 3, 1]> (kh)
        v = Transpose <perm = [0, 2, 1, 3]> (vh)
        s = MatMul (q, k) {between} o = MatMul (r, v)
        t = Transpose <perm = [0, 2, 1, 3]> (o) y = Reshape (t, whole)
    """


def model_of(style: str, body: str, steps: str = STEPS_OF_BOTH, **changed: Any) -> onnx.ModelProto:
    length = STEPS - (steps == STEPS_OF_BOTH)
    output = f"float[B, {STEPS}, {HEADS * SIZE}] y"
    constants: dict[str, Any] = {
        name: c for name, c in {**CONSTANTS, **changed}.items() if name in body or name == "one"
    }
    return ranking(style, body, user=f"float[{length}, 4]", item="float[4]", output=output, **constants)


def moved(result: Rewritten) -> list[list[int]]:
    """How axes are put in another order."""
    return [list(onnx.helper.get_attribute_value(node.attribute[0])) for node in result.nodes("Transpose")]


TURNED, BACK = [0, 1, 3, 2], [1, 2, 0, 3]


@styles
@pytest.mark.parametrize("linear", LINEARS.values(), ids=list(LINEARS))
def test_no_head_is_moved(style: str, linear: str) -> None:
    """But for the keys, which are turned, and the way back."""
    result = rewrite_and_check(model_of(style, attention(STEPS_OF_BOTH, linear), STEPS_OF_BOTH))
    assert moved(result) == [TURNED, BACK]


@styles
@pytest.mark.parametrize("linear", [name for name in LINEARS if name not in BY_SHORT_RUNS])
def test_no_head_of_steps_that_vary_is_moved(style: str, linear: str) -> None:
    result = rewrite_and_check(model_of(style, attention(STEPS_THAT_VARY, LINEARS[linear]), STEPS_THAT_VARY))
    assert moved(result) == [TURNED, BACK]


@styles
@pytest.mark.parametrize("linear", BY_SHORT_RUNS)
def test_what_meets_each_head_in_short_runs_is_not_done_by_head(style: str, linear: str) -> None:
    """For each row of a head it takes as long as moving it."""
    result = rewrite_and_check(model_of(style, attention(STEPS_THAT_VARY, LINEARS[linear]), STEPS_THAT_VARY))
    assert TURNED not in moved(result)


@styles
@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("steps", [STEPS_OF_BOTH, STEPS_THAT_VARY], ids=["of both", "that vary"])
def test_no_head_of_packed_queries_keys_and_values_is_moved(style: str, steps: str, packed: str, taken: str) -> None:
    body = attention(steps, f"{PACKED[packed]} {TAKEN[taken]}")
    whole = {"whole3": [-1, STEPS, 3 * HEADS * SIZE]}
    result = rewrite_and_check(model_of(style, body, steps, **whole))
    if steps == STEPS_OF_BOTH or packed not in BY_SHORT_RUNS:
        assert moved(result) == [TURNED, BACK]


def test_where_a_bias_would_be_more_arithmetic_heads_are_moved() -> None:
    """Nothing is saved that would pay for it, and a model that takes more arithmetic is refused as a whole."""
    steps = "i = Unsqueeze (item, one) x = Mul (user, i)"
    plan = rewrite_and_check(model_of("one", attention(steps, LINEARS["bias"]), steps)).plan
    assert plan.work.macs == plan.program.work.macs
    without = rewrite_and_check(model_of("one", attention(steps, LINEARS["no bias"]), steps))
    assert moved(without) == [TURNED, BACK]


def test_a_bias_is_one_more_row_of_the_weight() -> None:
    result = rewrite_and_check(model_of("one", attention(STEPS_THAT_VARY, LINEARS["bias"]), STEPS_THAT_VARY))
    assert result.ops.count("Add") == 0
    assert [list(t.dims) for t in result.model.graph.initializer].count([HEADS, 5, SIZE]) == 3


@styles
@pytest.mark.parametrize("between", ["m = Mul (s, two) r = Relu (m)", "m = Add (s, mask) r = Relu (m)"])
def test_what_is_done_to_the_scores_is_done_as_they_are_stored(style: str, between: str) -> None:
    result = rewrite_and_check(model_of(style, attention(STEPS_THAT_VARY, LINEARS["bias"], between), STEPS_THAT_VARY))
    assert moved(result) == [TURNED, BACK]


@styles
def test_heads_that_stand_beside_the_batch(style: str) -> None:
    """(B h) as one dimension, as a module of torch has it."""
    body = f"""
        {STEPS_THAT_VARY} {" ".join(LINEARS["bias"].format(p=p) for p in "qkv")}
        {" ".join(f"{p}h = Reshape ({p}m, heads) {p}p = Transpose <perm = [0, 2, 1, 3]> ({p}h)" for p in "qkv")}
        {" ".join(f"{p} = Reshape ({p}p, beside)" for p in "qkv")}
        kt = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, kt) r = Relu (s) o = MatMul (r, v)
        a = Reshape (o, apart) t = Transpose <perm = [0, 2, 1, 3]> (a) y = Reshape (t, whole)
    """
    changed = {"beside": [-1, STEPS, SIZE], "apart": [-1, HEADS, STEPS, SIZE]}
    result = rewrite_and_check(model_of(style, body, STEPS_THAT_VARY, **changed))
    assert moved(result) == [TURNED, BACK]


def test_candidates_are_multiplied_by_the_weights_of_heads_as_openvino_can() -> None:
    """Of [1, B, 4] and stored weights [2, 4, 4] it makes no product, and raises in each call."""
    result = rewrite_and_check(model_of("one", attention(STEPS_THAT_VARY, LINEARS["no bias"]), STEPS_THAT_VARY))
    weights = {t.name: list(t.dims) for t in result.model.graph.initializer}
    products = [node for node in result.nodes("MatMul") if weights.get(node.input[1]) == [HEADS, 4, SIZE]]
    inferred = onnx.shape_inference.infer_shapes(result.model, data_prop=True).graph.value_info
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in inferred}
    assert [ranks[node.input[0]] for node in products] == [4, 4, 4]


@styles
def test_an_item_asks_a_history(style: str) -> None:
    """q (B h d), k (h d L): the rows of a head are the candidates, and neither side is moved but for k, turned."""
    body = """
        q0 = MatMul (item, wq) q1 = Reshape (q0, heads) q = Unsqueeze (q1, one2)
        k0 = MatMul (user, wk) k1 = Reshape (k0, heads_of_k) k = Transpose <perm = [0, 2, 3, 1]> (k1)
        s = MatMul (q, k) y = Squeeze (s, one2)
    """
    constants: dict[str, Any] = {"wq": integers(4, 64), "wk": integers(4, 64, seed=1), "heads": [-1, 4, 16]}
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 4, 5] y"}
    result = rewrite_and_check(ranking(style, body, **types, **constants, heads_of_k=[-1, 5, 4, 16], one2=[2]))
    if style == "one":
        assert moved(result) == [[0, 2, 1], [1, 0, 2]]  # the keys, and the way back


@styles
def test_a_width_that_is_a_symbol_is_not_taken_for_that_of_the_weight(style: str) -> None:
    """The item is [B, L], and the weight [5, 64] is cut by its own rows."""
    body = """
        m = MatMul (item, wq) b = Add (m, bq) h = Reshape (b, heads) q = Transpose <perm = [0, 2, 1, 3]> (h)
        k0 = MatMul (user, wk) k1 = Reshape (k0, heads_of_k) k = Transpose <perm = [0, 2, 3, 1]> (k1)
        s = MatMul (q, k) y = Squeeze (s, two)
    """
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[L]", "output": "float[B, 4, 5] y"}
    constants: dict[str, Any] = {"wq": integers(LENGTH, 64), "bq": integers(64), "wk": integers(4, 64, seed=1)}
    constants |= {"heads": [-1, 1, 4, 16], "heads_of_k": [-1, 5, 4, 16], "two": [2]}
    rewrite_and_check(ranking(style, body, **types, **constants))


def test_a_product_that_onnxruntime_refuses_is_left_alone() -> None:
    """Its weight has 5 rows and its input 3 columns, where onnx infers no shape: its weight has no heads."""
    b, heads, size = Builder(), Axis(4), Axis(16)
    x, w = b.constant(integers(2, 3)), b.constant(integers(5, 64))
    array = Array(b.make("MatMul", [x, w], (2, 64)), ((Axis(2),), (heads, size)))
    assert Heads(b, {}, b.count).outermost(array, {heads}) is array


def test_what_others_read_is_not_computed_twice() -> None:
    body = attention(STEPS_THAT_VARY, LINEARS["no bias"]).replace("y = Reshape (t, whole)", "")
    body += "f = Reshape (t, whole) g = Add (f, qm) h = Add (g, km) y = Add (h, vm)"
    result = rewrite_and_check(model_of("one", body, STEPS_THAT_VARY))
    assert result.ops.count("MatMul") == OF_THE_USER.count("MatMul") + 5


def test_a_weight_that_is_computed_stays_as_it_is() -> None:
    body = attention(STEPS_THAT_VARY, "{p}w = Tanh (w{p}) {p}m = MatMul (x, {p}w)")
    result = rewrite(model_of("one", body, STEPS_THAT_VARY))
    assert TURNED not in moved(result)


def test_a_product_scaled_by_itself_stays_as_it_is() -> None:
    linear = "{p}x = Reshape (x, lines) {p}m = Gemm <alpha = 2.0> ({p}x, w{p}, b{p})"
    result = rewrite_and_check(model_of("one", attention(STEPS_THAT_VARY, linear), STEPS_THAT_VARY))
    assert TURNED not in moved(result)


def test_a_bias_for_each_row_is_none_for_each_column() -> None:
    """As many steps as there are columns."""
    body = """
        l = Reshape (user, lines) q0 = Gemm (l, wq, c) q1 = Reshape (q0, heads) q = Transpose <perm = [0, 2, 1, 3]> (q1)
        k0 = MatMul (item, wk) k1 = Reshape (k0, heads_of_k) k = Transpose <perm = [0, 2, 3, 1]> (k1)
        s = MatMul (q, k) y = Squeeze (s, last)
    """
    constants: dict[str, Any] = {
        "wq": integers(4, 8),
        "wk": integers(4, 8, seed=2),
        "c": integers(8, 1, seed=5),
        "last": [3],
    }
    shapes: dict[str, Any] = {"lines": [8, 4], "heads": [-1, 8, 2, 4], "heads_of_k": [-1, 1, 2, 4]}
    model = parse(
        f"g (float[1, 8, 4] user, float[B, 4] item) => (float[B, 2, 8] y) {{ {body} }}", **constants, **shapes
    )
    assert rewrite_and_check(model, ()).ops.count("Gemm") == 1


def test_names_say_of_what_they_are() -> None:
    result = rewrite_and_check(model_of("one", attention(STEPS_THAT_VARY, LINEARS["no bias"]), STEPS_THAT_VARY))
    names = {output for node in result.model.graph.node for output in node.output}
    assert {"qm.heads", "km.heads", "vm.heads"} <= names


def test_the_graph() -> None:
    """Each head is a matrix of the product that makes it."""
    body = """
        q0 = MatMul (item, wq) q1 = Reshape (q0, heads) q = Unsqueeze (q1, two)
        k0 = MatMul (user, wk) k1 = Reshape (k0, heads_of_k) k = Transpose <perm = [0, 2, 3, 1]> (k1)
        s = MatMul (q, k) y = Squeeze (s, two)
    """
    constants: dict[str, Any] = {"wq": integers(4, 64), "wk": integers(4, 64, seed=1), "heads": [-1, 4, 16], "two": [2]}
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 4, 5] y"}
    result = rewrite_and_check(ranking("one", body, **types, **constants, heads_of_k=[-1, 5, 4, 16]))
    assert result.graph == [
        "item.reshape [1 1 B 4] = Reshape (item)",
        "item.matmul [1 4 B 16] = MatMul (item.reshape, wq.part)",
        "q0.heads [4 B 16] = Reshape (item.matmul)",
        "user_row.matmul [4 5 16] = MatMul (user_row, wk.part)",
        "user_row.transpose [4 16 5] = Transpose (user_row.matmul)",
        "s.item [4 B 5] = MatMul (q0.heads, user_row.transpose)",
        "y [B 4 5] = Transpose (s.item)",
    ]
