"""Models cut in parts: together they are the original bit for bit, and what crosses is little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import UserError, split
from mari_onnx.document.read import from_proto
from mari_onnx.serving.modes import mode_of_result
from mari_onnx.serving.recompose import together
from tests.graphs import LENGTH, assert_same, evaluate, integers, parse, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
WIDE: dict[str, Any] = {"w": integers(259, 32), "b": integers(32)}


def cut(model: onnx.ModelProto, **options: Any) -> mari_onnx.SplitModels:
    parts = split(model, user_inputs=options.pop("user_inputs", ["user*"]), **options)
    assert parts.report.verification is not None
    assert parts.report.verification.passed, parts.report.verification
    for part in parts.models.values():
        onnx.checker.check_model(part, full_check=True)
    return parts


def crossing(parts: mari_onnx.SplitModels, role: str = "user") -> dict[str, tuple[int, bool]]:
    assert parts.report.split is not None
    return {one.name: (one.bytes, one.computed) for one in parts.report.split.crossings if one.role == role}


def assert_together(
    model: onnx.ModelProto,
    parts: mari_onnx.SplitModels,
    batches: Sequence[int] = (0, 1, 7),
    user: Sequence[str] = ("user",),
) -> None:
    assert list(parts.models)[-1] == "rank"
    documents = [from_proto(part) for part in parts.models.values()]
    reference = from_proto(model)
    joined = together(reference, documents, mode_of_result(reference, documents))
    assert_same(model, joined.proto, user, batches=batches)


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_the_product_of_the_user_crosses(style: str) -> None:
    model = ranking(style, BODY, user="float[256]", **WIDE)
    user = "user_row" if style == "one" else "user"
    parts = cut(model, user_inputs=[user])
    assert crossing(parts) == {"h.user": (32 * 4, True)}
    assert [i.name for i in parts.models["user"].graph.input] == [user]
    assert [i.name for i in parts.models["rank"].graph.input] == ["item", "h.user"]
    assert [o.name for o in parts.models["rank"].graph.output] == ["y"]
    assert_together(model, parts)


def test_each_part_has_its_own_weights() -> None:
    parts = cut(ranking("tiled", BODY, user="float[256]", **WIDE))
    sizes = {role: [tuple(t.dims) for t in part.graph.initializer] for role, part in parts.models.items()}
    assert (256, 32) in sizes["user"]
    assert (3, 32) in sizes["rank"]
    assert (256, 32) not in sizes["rank"]


def test_arithmetic_is_that_of_one_model() -> None:
    report = cut(ranking("tiled", BODY, user="float[256]", **WIDE)).report
    assert report.split is not None
    assert sum(part.macs for part in report.split.parts) == report.split.macs == 256 * 32 + 500 * 3 * 32


def test_what_is_cheap_is_computed_again() -> None:
    """Twice as wide and wider: the narrow value crosses, and each part makes of it what it needs."""
    model = parse(
        """g (float[B, 64] user, float[B, 2048] item) => (float[B, 2048] y) {
            s = MatMul (user, w)
            p = Relu (s)
            n = Neg (s)
            both = Concat <axis = 1> (p, n)
            y = Mul (both, item)
        }""",
        w=integers(64, 1024),
    )
    parts = cut(model)
    assert crossing(parts) == {"s.user": (1024 * 4, True)}
    assert parts.report.split is not None
    assert "run in the ranking model" in parts.report.split.choice[1]
    assert_together(model, parts)


def test_a_product_is_computed_again_only_where_that_is_next_to_nothing() -> None:
    """8 features become 4,096: 16 kB would cross, and 32 thousand multiply-adds are 0.01 % of all."""
    model = parse(
        """g (float[B, 512] user_x, float[B, 4096] item) => (float[B, 128] y) {
            u = MatMul (user_x, narrow)
            e = MatMul (u, wide)
            x = Mul (e, item)
            y = MatMul (x, w)
        }""",
        narrow=integers(512, 8), wide=integers(8, 4096), w=integers(4096, 128),
    )  # fmt: skip
    parts = cut(model)
    assert crossing(parts) == {"u.user": (8 * 4, True)}
    assert parts.report.split is not None
    assert "1 of the user's nodes, 32,768 multiply-adds, run in the ranking model" in parts.report.split.choice[1]


NARROW = """g (float[B, 64] user_x, float[B, 40] item) => (float[B, 4] y) {
    h = MatMul (user_x, narrow) r = Relu (h) u = MatMul (r, wide) e = MatMul (item, of_item) s = Add (u, e)
    t = Relu (s) y = MatMul (t, last)
}"""
"""64 numbers become 8, and 8 become 512, by a product that is a large share of all."""


def narrow() -> onnx.ModelProto:
    weights = {"narrow": (64, 8), "wide": (8, 512), "of_item": (40, 512), "last": (512, 4)}
    return parse(NARROW, **{name: integers(*shape) for name, shape in weights.items()})  # type: ignore[arg-type]


def test_fewer_bytes_cross_where_they_are_bounded() -> None:
    """The wide product runs in the ranking model then, once for each request."""
    model = narrow()
    assert sum(size for size, _ in crossing(cut(model, batch=2)).values()) == 512 * 4
    for most in (2047, 32):
        parts = cut(model, batch=2, max_bytes={"user": most})
        assert crossing(parts) == {"r.user": (8 * 4, True)}
        assert_together(model, parts, user=["user_x"])
    assert parts.report.configuration is not None
    assert parts.report.configuration.options["max_bytes"] == {"user": 32}


def test_a_bound_that_holds_changes_nothing() -> None:
    parts = cut(narrow(), batch=2, max_bytes={"user": 2048}), cut(narrow(), batch=2)
    for role in ("user", "rank"):
        first, second = (list(each.models[role].graph.node) for each in parts)
        assert first == second


def test_more_bytes_than_may_cross() -> None:
    with pytest.raises(UserError, match=r"for each request 32 bytes would go .* `r.user`, and at most 31 may"):
        split(narrow(), user_inputs=["user*"], max_bytes={"user": 31})


def test_bytes_of_items_are_bounded_for_each_item() -> None:
    text = (
        NARROW.replace("user_x", "item_x").replace("40] item)", "40] user)").replace("MatMul (item,", "MatMul (user,")
    )
    weights = {"narrow": (64, 8), "wide": (8, 512), "of_item": (40, 512), "last": (512, 4)}
    model = parse(text, **{name: integers(*shape) for name, shape in weights.items()})  # type: ignore[arg-type]
    given: dict[str, Any] = {"user_inputs": ["user"], "item_inputs": ["item_x"]}
    assert sum(size for size, _ in crossing(cut(model, **given), "item").values()) == 512 * 4
    parts = cut(model, **given, max_bytes={"item": 100})
    assert sum(size for size, _ in crossing(parts, "item").values()) == 8 * 4


@pytest.mark.parametrize("wrong", [{"user": 0}, {"user": 1.5}, {"rank": 7}])
def test_wrong_bounds(wrong: Any) -> None:
    with pytest.raises(UserError, match="max_bytes"):
        split(narrow(), user_inputs=["user*"], max_bytes=wrong)


def test_an_input_crosses_as_it_is() -> None:
    """A mask of the history: nothing that is computed from it is smaller."""
    model = parse(
        """g (float[B, 200] user_x, bool[B, 4] user_mask, float[B, 4] item) => (float[B, 4] y) {
            h = MatMul (user_x, w)
            m = Where (user_mask, item, h)
            y = Relu (m)
        }""",
        w=integers(200, 4),
    )
    parts = cut(model)
    assert crossing(parts) == {"user_mask": (4, False), "h.user": (16, True)}
    assert [i.name for i in parts.models["user"].graph.input] == ["user_x"]
    assert_together(model, parts, user=("user_x", "user_mask"))


def test_a_length_that_only_the_user_has() -> None:
    """The ranking model reads it off what crosses."""
    model = parse(
        """g (float[B, L, 16] user, float[B, 4] item) => (float[B, L] y) {
            k = MatMul (user, w)
            q = Unsqueeze (item, one)
            t = Transpose <perm = [0, 2, 1]> (k)
            s = MatMul (q, t)
            y = Squeeze (s, one)
        }""",
        w=integers(16, 4), one=[1],
    )  # fmt: skip
    parts = cut(model)
    ((_, (bytes_, computed)),) = crossing(parts).items()
    assert (computed, bytes_ % 16) == (True, 0)
    assert_together(model, parts)
    assert LENGTH == 5


@pytest.mark.parametrize("index", [None, "i"])
def test_several_requests(index: str | None) -> None:
    types = "int64[B] i, float[B, 256] user, float[B, 3] item"
    model = parse(f"g ({types}) => (float[B, 32] y) {{ {BODY} }}", **WIDE)
    parts = cut(model, user_batch="requests", request_index=index)
    user, rank = parts.models["user"], parts.models["rank"]
    assert user.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "requests"
    rows, item = integers(3, 256), integers(7, 3, seed=1)
    which = np.array([2, 0, 0, 1, 2, 2, 1])
    (h,) = evaluate(user, {"user": rows})
    sent = {"i": which, "item": item, user.graph.output[0].name: h, **({} if index else {"request_index": which})}
    (expected,) = evaluate(model, {"i": which, "item": item, "user": rows[which]})
    np.testing.assert_array_equal(evaluate(rank, sent)[0], expected, strict=True)


def test_rows_that_an_index_selects_already() -> None:
    model = ranking("requests", BODY, user="float[256]", **WIDE)
    parts = cut(model, user_inputs=[])
    assert crossing(parts) == {"h.user": (32 * 4, True)}
    assert [i.name for i in parts.models["rank"].graph.input] == ["index", "item", "h.user"]
    assert_together(model, parts, batches=(1, 7))


# The items


ITEMS = """g (float[B, 64] user, float[B, 128] item_x, int64[B] item_id, float[B, 2] cross) => (float[B, 16] y) {
    e = Gather (table, item_id)
    x = Concat <axis = 1> (user, item_x, e, cross)
    y = Gemm (x, w)
}"""


def test_an_item_model() -> None:
    model = parse(ITEMS, w=integers(64 + 128 + 32 + 2, 16), table=integers(9, 32))
    parts = cut(model, item_inputs=["item_*"])
    assert list(parts.models) == ["user", "item", "rank"]
    ((name, (bytes_, computed)),) = crossing(parts, "item").items()
    assert (bytes_, computed) == (16 * 4, True)
    assert {i.name for i in parts.models["item"].graph.input} == {"item_x", "item_id"}
    assert {i.name for i in parts.models["rank"].graph.input} >= {"cross", name}
    assert_together(model, parts)
    catalogue = {"item_x": integers(9, 128), "item_id": np.arange(9)}
    (whole,) = evaluate(parts.models["item"], catalogue)
    (some,) = evaluate(parts.models["item"], {k: v[[4, 4, 0]] for k, v in catalogue.items()})
    np.testing.assert_array_equal(some, whole[[4, 4, 0]])


def test_what_mixes_the_items_is_not_the_items_own() -> None:
    """A softmax over the candidates depends on which others there are."""
    model = parse(
        """g (float[B, 64] user, float[B, 128] item) => (float[B, 4] y) {
            p = MatMul (user, u)
            v = MatMul (item, w)
            s = Softmax <axis = 0> (v)
            y = Mul (p, s)
        }""",
        u=integers(64, 4), w=integers(128, 4),
    )  # fmt: skip
    parts = cut(model, item_inputs=["item"])
    assert crossing(parts, "item") == {"v": (16, True)}
    assert "Softmax" in [n.op_type for n in parts.models["rank"].graph.node]


# What cannot be


def test_nothing_to_cut_off() -> None:
    text = "g (float[B, 4] user, float[B, 4] item) => (float[B, 4] y) { y = Mul (user, item) }"
    with pytest.raises(UserError, match="no value is computed from the request's inputs alone"):
        split(parse(text), user_inputs=["user"])
    with pytest.raises(UserError, match="whose rows the caller repeats"):
        split(parse(text))


def test_nothing_of_the_items() -> None:
    text = "g (float[B, 64] user, float[B, 4] item) => (float[B, 4] y) { u = MatMul (user, w) y = Mul (u, item) }"
    with pytest.raises(
        UserError, match="no value that comes, row by row, from the items' inputs alone is worth sending"
    ):
        split(parse(text, w=integers(64, 4)), user_inputs=["user"], item_inputs=["item"])


def test_an_input_of_both_sides() -> None:
    with pytest.raises(UserError, match="`user` cannot be the user's and the items'"):
        split(ranking("tiled", BODY, user="float[256]", **WIDE), user_inputs=["user"], item_inputs=["*"])


def test_weights_of_ir_version_3_are_inputs_of_the_part_that_reads_them() -> None:
    """There an initializer has to be an input as well, and belongs to no side of the cut."""
    body = "h = MatMul (user, w) g = MatMul (item, v) y = Add (h, g)"
    weights: dict[str, Any] = {"w": integers(256, 32), "v": integers(3, 32)}
    model = ranking("tiled", body, user="float[256]", opset=9, **weights)
    model.ir_version = 3
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer
    )
    parts = split(model, user_inputs=["user"])
    assert [i.name for i in parts.models["user"].graph.input] == ["user", "w"]
    assert {"item", "v"} < {i.name for i in parts.models["rank"].graph.input}
    assert parts.report.verification is not None
    assert parts.report.verification.passed
