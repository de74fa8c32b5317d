"""What works within some dimensions lacks the axes that its input lacks in the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.ir.extents import symbol
from tests.analysis.rules.test_blocks import history_is_the_users
from tests.graphs import STYLES, Rewritten, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
IMAGE = "float[4, 2, 4]"
ONES = np.ones(4, np.float32)


def of_the_user(style: str, node: str, *, user: str = IMAGE, opset: int = 18, **constants: Any) -> Rewritten:
    """The largest of what the node makes of the user's value, for each of which there is a candidate."""
    body = f"s = {node} f = Flatten (s) m = ReduceMax <keepdims = 1> (f, last) y = Add (m, item)"
    if opset < 18:
        body = body.replace("<keepdims = 1> (f, last)", "<axes = [1], keepdims = 1> (f)")
    else:
        constants["last"] = [1]
    model = ranking(style, body, user=user, item="float[1]", opset=opset, **constants)
    result = rewrite_and_check(model, rtol=1e-5)
    assert "Expand" not in result.ops
    assert symbol("B") not in result.program.values["s"].array.tensor.known_shape
    assert not result.refusals(result.program.values["s"].array.tensor.op_type)
    return result


NODES: list[tuple[str, dict[str, Any]]] = [
    ("MaxPool <kernel_shape = [2, 2], strides = [1, 2]> (user)", {}),
    ('MaxPool <kernel_shape = [2, 3], auto_pad = "SAME_UPPER"> (user)', {}),
    ("MaxPool <kernel_shape = [2, 3], ceil_mode = 1, strides = [2, 2]> (user)", {}),
    ("AveragePool <kernel_shape = [1, 2], pads = [0, 1, 0, 1]> (user)", {}),
    ("LpPool <kernel_shape = [2, 2], p = 1> (user)", {}),
    ("GlobalMaxPool (user)", {}),
    ("GlobalAveragePool (user)", {}),
    ("DepthToSpace <blocksize = 2> (user)", {}),
    ("SpaceToDepth <blocksize = 2> (user)", {}),
    ("Trilu (user)", {}),
    ("Trilu <upper = 0> (user, k)", {"k": np.int64(1)}),
    ("LRN <size = 3> (user)", {}),
    ("MeanVarianceNormalization <axes = [1, 2, 3]> (user)", {}),
    ("InstanceNormalization (user, scale, scale)", {"scale": ONES}),
    ("ConvTranspose <strides = [2, 1]> (user, w)", {"w": integers(4, 3, 2, 2)}),
    ("Pad (user, pads)", {"pads": [0, 0, 1, 0, 0, 0, 0, 2]}),
    ('Pad <mode = "edge"> (user, pads, , axes)', {"pads": [1, 2, 0, 1], "axes": [-1, 2]}),
    ("Pad (user, pads, number)", {"pads": [0, 1, 0, 0, 0, 0, 0, -1], "number": np.float32(2)}),
    ('Resize <mode = "nearest"> (user, , scales)', {"scales": np.array([1, 1, 2, 1.5], np.float32)}),
    ("Compress <axis = 2> (user, chosen)", {"chosen": np.array([False, True])}),
]


@styles
@pytest.mark.parametrize(("node", "constants"), NODES)
def test_of_the_user(style: str, node: str, constants: dict[str, Any]) -> None:
    of_the_user(style, node, **constants)


@pytest.mark.parametrize(("node", "constants"), NODES)
@pytest.mark.parametrize("stored", ["1, 2, 4", "4, 1, 4", "4, 2, 1"])
def test_of_what_is_not_stored(node: str, constants: dict[str, Any], stored: str) -> None:
    """What repeats within the dimensions that an operator looks at is there for it as often as it repeats."""
    body = f"x = Expand (user, wide) s = {node.replace('user', 'x')} m = ReduceMax (s, rest) y = Add (m, item)"
    types: dict[str, Any] = {"user": f"float[{stored}]", "item": "float[1, 1, 1]", "output": "float[B, 1, 1, 1] y"}
    model = ranking("one", body, **types, opset=18, wide=[1, 4, 2, 4], rest=[1, 2, 3], **constants)
    result = rewrite_and_check(model, rtol=1e-5)
    assert symbol("B") not in result.program.values["s"].array.tensor.known_shape


@styles
def test_along_the_candidates(style: str) -> None:
    """Their mean is that of the rows that are there."""
    model = ranking(
        style,
        "m = MeanVarianceNormalization <axes = [0, 2, 3]> (user) y = Neg (m)",
        user=IMAGE,
        output="float[B, 4, 2, 4] y",
    )
    rewrite_and_check(model, rtol=1e-4)


def test_group_normalization() -> None:
    of_the_user("one", "GroupNormalization <num_groups = 2> (user, scale, scale)", opset=21, scale=ONES)


@pytest.mark.parametrize("opset", [10, 11, 13])
def test_pads_as_an_attribute_and_as_an_input(opset: int) -> None:
    node = "Pad <pads = [0, 0, 1, 0, 0, 1]> (r)" if opset < 11 else "Pad (r, pads)"
    constants: dict[str, Any] = {} if opset < 11 else {"pads": [0, 0, 1, 0, 0, 1]}
    body = f"r = Relu (user) p = {node} m = ReduceMax <axes = [1, 2], keepdims = 0> (p) u = Unsqueeze <axes = [1]> (m)"
    if opset >= 13:
        body, constants = body.replace("Unsqueeze <axes = [1]> (m)", "Unsqueeze (m, one)"), constants | {"one": [1]}
    result = rewrite_and_check(
        ranking("one", f"{body} y = Add (u, item)", user="float[2, 3]", opset=opset, **constants)
    )
    assert "Expand" not in result.ops


def test_scales_as_the_second_input() -> None:
    body = """r = Relu (user) p = Resize (r, scales) m = ReduceMax <axes = [1, 2], keepdims = 0> (p)
              u = Unsqueeze <axes = [1]> (m) y = Add (u, item)"""
    scales = np.array([1, 1, 2], np.float32)
    result = rewrite_and_check(ranking("one", body, user="float[2, 3]", opset=10, scales=scales))
    assert "Expand" not in result.ops


def test_padding_the_candidates_is_refused() -> None:
    body = "p = Pad (user, pads) q = Pad (item, pads) y = Add (p, q)"
    model = ranking("one", body, item="float[4]", output="float[N, 4] y", pads=[1, 0, 0, 0])
    assert rewrite_and_check(model).refusals("Pad") == ["Pad of axes whose extents are not numbers"]


@styles
def test_parts_that_are_padded_apart(style: str) -> None:
    body = "x = Concat <axis = 2> (user, item) p = Pad (x, pads) y = MatMul (p, w)"
    types: dict[str, Any] = {"user": "float[2, 4]", "item": "float[2, 3]", "output": "float[B, 3, 2] y"}
    result = rewrite_and_check(ranking(style, body, pads=[0, 1, 0, 0, 0, 0], w=integers(7, 2), **types))
    assert result.ops.count("Pad") == 2


@pytest.mark.parametrize(
    ("node", "given", "reason"),
    [
        ("Pad (u, k)", "int64[6] k", "pads of Pad is computed by the model"),
        ("Trilu (u, k)", "int64 k", "Trilu with a second output, or by something that is computed"),
        ('Resize (u, , , k)', "int64[3] k", "Resize to sizes, or by scales that are computed"),
        ("Compress (u, k)", "bool[6] k", "Compress of all dimensions at once, or by a condition that is computed"),
    ],
)  # fmt: skip
def test_what_is_computed_is_refused(node: str, given: str, reason: str) -> None:
    op_type = node.split()[0]
    text = f"g (float[1, 2, 3] user, float[B, 2, 3] item, {given}) => (float[N, M, K] y)"
    if op_type == "Compress":
        text = text.replace("float[N, M, K]", "float[N]")
    result = rewrite(parse(f"{text} {{ s = Shape (item) u = Expand (user, s) y = {node} }}", opset=18))
    assert result.refusals(op_type) == [reason]


@pytest.mark.parametrize(
    ("node", "constants", "reason"),
    [
        ("y, i = MaxPool <kernel_shape = [2]> (u)", {},
         "MaxPool with a second output, or by something that is computed"),
        ("y = Resize <axes = [0, 2, 1]> (u, , scales)", {"scales": np.array([1, 2, 1], np.float32)},
         "Resize to sizes, or by scales that are computed"),
        ("y = Compress (u, chosen)", {"chosen": np.ones(6, bool)},
         "Compress of all dimensions at once, or by a condition that is computed"),
    ],
)  # fmt: skip
def test_other_uses(node: str, constants: dict[str, Any], reason: str) -> None:
    text = "g (float[1, 2, 3] user, float[B, 2, 3] item) => (float[N, M, K] y)"
    if "Compress" in node:
        text = text.replace("float[N, M, K]", "float[N]")
    result = rewrite(parse(f"{text} {{ s = Shape (item) u = Expand (user, s) {node} }}", opset=18, **constants))
    assert result.refusals(node.split(" = ")[1].split()[0]) == [reason]


def test_extents_that_are_not_numbers() -> None:
    text = "g (float[1, 2, L] user, float[B, 1, 1] item) => (float[B, 2, M] y)"
    body = "s = Shape (item) u = Expand (user, s) p = MaxPool <kernel_shape = [2]> (u) y = Add (p, item)"
    result = rewrite(parse(f"{text} {{ {body} }}", opset=18))
    assert result.refusals("MaxPool") == ["MaxPool of axes whose extents are not numbers"]


def test_places_of_which_some_follow_from_a_shape_that_is_not_known() -> None:
    """The batch may be 3 as well."""
    text = "g (float[1, 2] user, float[B, 2] item) => (float[B, M] y)"
    body = "s = Shape (item) u = Expand (user, s) c = Equal (s, k) y = Compress <axis = 1> (u, c)"
    result = rewrite(parse(f"{text} {{ {body} }}", opset=18, k=[3, 2]))
    assert result.refusals("Compress") == ["Compress of all dimensions at once, or by a condition that is computed"]


def test_columns_that_a_mask_selects_stay_apart() -> None:
    """A condition that is shorter than the axis leaves out the rest."""
    body = "x = Concat <axis = 1> (user, item) c = Compress <axis = 1> (x, chosen) y = MatMul (c, w)"
    chosen = np.array([False, True, True, False, True, True])
    result = rewrite_and_check(ranking("one", body, opset=18, chosen=chosen, w=integers(4, 2)))
    assert not {"Compress", "Concat", "Expand"} & set(result.ops)


def test_the_extent_of_what_is_selected_from() -> None:
    text = "g (float[1, L] user, float[B, 1] item) => (float[B, 1] y)"
    body = "s = Shape (item) u = Expand (user, s) c = Compress <axis = 1> (u, chosen) y = Add (c, item)"
    result = rewrite(parse(f"{text} {{ {body} }}", opset=18, chosen=np.array([True])))
    assert result.refusals("Compress") == ["Compress of an axis whose extent is not a number"]


def test_weights_that_are_computed() -> None:
    """onnx does not say how large the result is."""
    body = """k = Mul (w, two) c = ConvTranspose (user, k) h = ReduceMax <keepdims = 0> (c, rest)
              m = Unsqueeze (h, one) y = Add (m, item)"""
    constants: dict[str, Any] = {"w": integers(4, 3, 2), "two": np.float32(2), "rest": [1, 2], "one": [1]}
    model = ranking("one", body, user="float[4, 5]", item="float[1]", opset=18, **constants)
    result = rewrite_and_check(model)
    assert result.refusals("ConvTranspose") == ["what ConvTranspose makes of its axes is not known"]


def test_pads_as_torch_writes_them() -> None:
    """Zeros for the other dimensions, joined, turned round and cast: shape arithmetic."""
    body = """none = ConstantOfShape <value = int64[1] {0}> (four) all = Concat <axis = 0> (given, none)
              pairs = Reshape (all, two) back = Slice (pairs, last, first, zero_, last) t = Transpose (back)
              pads = Reshape (t, flat) k = Cast <to = 7> (pads) p = Pad (user, k) h = ReduceMax <keepdims = 0> (p, rest)
              m = Unsqueeze (h, one) y = Add (m, item)"""
    constants: dict[str, Any] = {
        "four": [4], "given": [1, 2], "two": [-1, 2], "last": [-1], "first": [-(2**31)], "zero_": [0], "flat": [-1],
        "rest": [1, 2], "one": [1],
    }  # fmt: skip
    model = ranking("one", body, user="float[4, 5]", item="float[1]", opset=18, **constants)
    result = rewrite_and_check(model)
    assert result.program.values["p"].array.tensor.known_shape == (1, 4, 8)


def test_the_graph() -> None:
    """Pooled once for the request."""
    body = "p = MaxPool <kernel_shape = [2]> (user) f = Flatten (p) y = Add (f, item)"
    result = rewrite_and_check(ranking("one", body, user="float[4, 5]", item="float[16]", output="float[B, 16] y"))
    assert result.graph == [
        "p.user [1 4 4] = MaxPool (user_row)",
        "p.user.reshape [1 16] = Reshape (p.user)",
        "y [B 16] = Add (p.user.reshape, item)",
    ]


@styles
def test_candidates_are_not_pooled_as_channels(style: str) -> None:
    """Entries of pairs are stored (pair B), and of no candidates onnxruntime pools only where they are the batch."""
    body = """h = Mul (user, item) s = Transpose <perm = [0, 2, 1]> (h) m = MatMul (h, s)
        t = Transpose <perm = [1, 2, 0]> (m) g = GatherND (t, pairs) p = Transpose (g) c = Unsqueeze (p, two)
        y = GlobalMaxPool (c)"""
    types: dict[str, Any] = {"user": "float[4, 2]", "item": "float[4, 2]", "output": "float[B, 3, 1] y"}
    rewrite_and_check(ranking(style, body, **types, two=[2], pairs=[[1, 0], [2, 0], [3, 1]]))


def test_pooling_of_nothing_is_left_alone() -> None:
    """onnxruntime pools a batch without rows, and fails for places that are not there."""
    body = "p = GlobalMaxPool (user) y = Concat <axis = 0> (p, p)"
    result = rewrite(ranking("tiled", body, user="float[3, 0]", output="float[N, 3, 1] y"))
    assert any(r.reason == "GlobalMaxPool of axes without elements" for r in result.remarks)


@styles
@pytest.mark.parametrize("number", [None, 0.0, 2.0])
def test_a_shift_by_one_token(style: str, number: float | None) -> None:
    """What stands before each token is the user's, also before the candidate's."""
    inputs = "x, pads" if number is None else "x, pads, n"
    body = f"""i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) p = Pad ({inputs})
        s = Slice (p, start, stop, one) y = Add (x, s)"""
    given: dict[str, Any] = {} if number is None else {"n": np.array(number, np.float32)}
    given |= {"pads": [0, 1, 0, 0, 0, 0], "start": [0], "stop": [-1], "one": [1]}
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 6, 4] y"}
    result = rewrite_and_check(ranking(style, body, **types, **given))
    shape = result.program.values["s"].array.tensor.known_shape
    assert symbol("B") not in shape or style == "requests"
    assert history_is_the_users(result, "y")


@pytest.mark.parametrize("node", ['Pad <mode = "edge"> (x, pads)', "Pad (x, wide)", "Pad (x, less)"])
def test_other_paddings_of_parts(node: str) -> None:
    body = f"i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) y = {node}"
    stored: dict[str, Any] = {
        "pads": [0, 1, 0, 0, 0, 0],
        "wide": [0, 1, 1, 0, 0, 0],
        "less": [0, -1, 0, 0, 0, 0],
        "one": [1],
    }
    given: dict[str, Any] = {name: a for name, a in stored.items() if name in body}
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, N, M] y"}
    assert rewrite_and_check(ranking("one", body, **types, **given)).program.values["y"].parts is None
