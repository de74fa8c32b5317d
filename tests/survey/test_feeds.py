"""What an input feeds: the first operators that do more than move elements."""

from __future__ import annotations

from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.survey.feeds import Feeds
from tests.graphs import integers, parse

MODEL = parse(
    """g (int64[B] id, float[B] price, float[B, 4] wide, bool[1] hot, float[B] unused) => (float[B, 8] y, float[B] z) {
        same = Identity (id)
        e = Gather (table, same)
        column = Unsqueeze (price, axis)
        moved = Reshape (column, shape)
        rows = Shape (wide)
        n = Neg (wide) s = Sin (wide) c = Cos (wide)
        by_number = Gather (n, zero)
        v = If (hot) <then_branch = g () => (float[B, 1] t) { t = Abs (moved) },
                      else_branch = g () => (float[B, 1] f) { f = Identity (moved) }>
        y = Concat <axis = 1> (e, n)
        z = Neg (price)
    }""",
    table=integers(5, 4),
    axis=[1],
    shape=[-1, 1],
    zero=[0],
)


def test_what_inputs_feed() -> None:
    feeds = Feeds(Model(from_proto(MODEL)))
    assert {name: feeds.of(name) for name in ("id", "price", "wide", "hot", "unused")} == {
        "id": ("Gather table [5 4]",),
        "price": ("If v", "Neg z"),  # through two moves into the body of the If
        "wide": ("Neg n", "Sin s", "and 1 more"),  # the shape is no element
        "hot": ("If v",),
        "unused": (),
    }
    assert feeds.of("n") == ("Gather by_number", "Concat y")  # what is looked up, and no stored table


def test_a_tensor_that_comes_back() -> None:
    model = parse("g (float[B] x) => (float[B] y) { a = Identity (x) b = Identity (x) y = Add (a, b) }")
    assert Feeds(Model(from_proto(model))).of("x") == ("Add y",)
