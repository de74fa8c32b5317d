from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from mari_onnx.document.read import as_document
from mari_onnx.verification.inputs.draw import Bounds, inputs_of
from mari_onnx.verification.inputs.ranges import Trace, trace
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.notes import said
from tests.verification import models
from tests.verification.models import parse, verify


def traced(model: onnx.ModelProto) -> Trace:
    source = Source("reference", as_document(model))
    return trace(source, inputs_of(source.session()))


def ranges(bounds: Bounds) -> list[tuple[int, int]]:
    low, high = np.broadcast_arrays(bounds.low, bounds.high)
    return list(zip(low.ravel().tolist(), high.ravel().tolist(), strict=True))


def one(body: str, ids: str = "int64[B]", **constants: Any) -> list[tuple[int, int]] | None:
    """The ranges of the only input `ids` of a model with this body."""
    table = np.zeros((10, 4), np.float32)
    found = traced(parse(f"f ({ids} ids) => (float[X] y) {{ {body} }}", table=table, **constants)).bounds
    return ranges(found["ids"]) if "ids" in found else None


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT])
def test_packed_ids_with_offsets(dtype: int) -> None:
    model = models.packed([0, 100, 103], 110, dtype=dtype)
    assert ranges(traced(model).bounds["ids"]) == [(0, 99), (0, 2), (0, 6)]
    assert verify(model, model).passed


def test_columns_of_different_tables() -> None:
    body = """
        a = Gather <axis = 1> (ids, first)
        b = Slice (ids, start, end, axis)
        ya = Gather (table, a)
        yb = Gather (small, b)
        z = ReduceSum <keepdims = 0> (yb)
        y = Add (ya, z)
    """
    constants = {"first": 0, "start": [1], "end": [3], "axis": [1]}
    small = np.zeros((3, 2), np.float32)
    assert one(body, "int64[B, 4]", small=small, **{k: np.array(v) for k, v in constants.items()}) == [
        (0, 9),
        (0, 2),
        (0, 2),
        (0, 1),  # no one looks at it
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Gather (table, ids)", [(0, 9)]),
        ("c = Clip (ids, zero, two) y = Gather (table, c)", [(0, 9)]),
        ("m = Mod (ids, two) y = Gather (table, m)", [(0, 9)]),
        ("s = Sub (ids, two) y = Gather (table, s)", [(2, 11)]),
        ("p = Greater (ids, zero) w = Where (p, ids, zero) y = Gather (table, w)", [(0, 9)]),
        ("p = Greater (ids, zero) i = Cast <to = 7> (p) m = Mul (i, ids) y = Gather (table, m)", [(0, 9)]),
        ("v = Constant <value = float[2] {0, 1}> () y = OneHot (ids, depth, v)", [(0, 4)]),
        ("u = Unsqueeze (ids, axis) l = Less (range, u) y = Cast <to = 1> (l)", [(1, 6)]),
        ("e = Equal (ids, zero) y = Cast <to = 1> (e)", [(0, 1)]),
        ("y = Cast <to = 1> (ids)", None),
    ],
)
def test_what_an_id_may_be(body: str, expected: list[tuple[int, int]] | None) -> None:
    constants: dict[str, Any] = {"zero": 0, "two": 2, "depth": 5, "axis": [1], "range": np.arange(6)}
    assert one(body, **constants) == expected


def test_ids_that_a_body_captures() -> None:
    body = """
        n = Size (ids)
        many = Greater (n, zero)
        t = If (many) <
            then_branch = yes () => (int64[N] a) { a = Identity (ids) },
            else_branch = no () => (int64[M] b) { b = Neg (ids) }
        >
        y = Gather (table, t)
    """
    assert one(body.replace("Neg", "Identity"), zero=np.array(0)) == [(0, 9)]


REQUESTS = """f (int64[n_req] user, int64[B] item, int64[B] request) => (float[B, 4] y) {
    %s
    i = Gather (table, item)
    y = Add (u, i)
}"""


@pytest.mark.parametrize(
    "pick",
    ["r = Gather (table, user) u = Gather (r, request)", "r = Gather (user, request) u = Gather (table, r)"],
    ids=["rows", "ids"],
)
def test_several_requests(pick: str) -> None:
    model = parse(REQUESTS % pick, table=np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32))
    found = traced(model)
    assert found.requests == {"n_req"}
    assert {name: ranges(b) for name, b in found.bounds.items()} == {
        "user": [(0, 9)],
        "item": [(0, 9)],
        "request": [(0, 2)],
    }
    assert verify(model, model).notes == ()


def test_untraced_ids_are_said_and_small() -> None:
    model = parse("f (int64[B] ids) => (float[B] y) { y = Cast <to = 1> (ids) }")
    assert "drawn from 0 to 1: ids" in said(verify(model, model).notes)[0]


def test_ids_that_fail_are_drawn_smaller() -> None:
    """Two ids make one index: neither has a range of its own."""
    model = parse(
        "f (int64[B] a, int64[B] b) => (float[B, 4] y) { p = Gather (table, a) s = Add (a, b) y = Gather (table, s) }",
        table=np.zeros((10, 4), np.float32),
    )
    verification = verify(model, model, batches=(64,))
    assert verification.passed
    assert any("only ids 0 and 1" in note for note in said(verification.notes))


@pytest.mark.parametrize(
    "lookup",
    ["rows = Gather (table, id)", "cut = Slice (ids, i1, j1) rows = Gather (table, cut)"],
    ids=["an element at a time", "a slice at a time"],
)
def test_ids_in_the_body_of_a_loop(lookup: str) -> None:
    """As EmbeddingBag is exported: each bag is looked up and added up in a step of its own."""
    model = parse(
        f"""f (int64[B] ids) => (float[B, 4] y) {{
            n = Size (ids)
            y = Loop (n, yes) <body = step (int64 i, bool c) => (bool go, float[4] sum) {{
                go = Identity (c)
                i1 = Unsqueeze (i, zero)
                j1 = Add (i1, one)
                id = Gather (ids, i1)
                {lookup}
                sum = ReduceSum <keepdims = 0> (rows, zero)
            }}>
        }}""",
        yes=np.array(True),
        zero=np.array([0]),
        one=np.array([1]),
        table=np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32),
    )
    assert ranges(traced(model).bounds["ids"]) == [(0, 9)]
    verification = verify(model, model, batches=(7,))
    assert verification.passed
    assert not any("drawn from 0 to 1" in note for note in said(verification.notes))


def test_ids_in_the_body_of_a_scan() -> None:
    model = parse(
        """f (int64[B] ids) => (float[4] total, float[B, 4] y) {
            total, y = Scan <num_scan_inputs = 1, body = step (float[4] s, int64 id) => (float[4] t, float[4] r) {
                r = Gather (table, id)
                t = Add (s, r)
            }> (start, ids)
        }""",
        start=np.zeros(4, np.float32),
        table=np.ones((10, 4), np.float32),
    )
    assert ranges(traced(model).bounds["ids"]) == [(0, 9)]
