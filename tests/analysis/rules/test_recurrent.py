"""Cells run on one row where their inputs have one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graphs import STYLES, integers, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
CLOSE: dict[str, Any] = {"rtol": 1e-5}
"""onnxruntime's cells do not survive an empty batch."""


def weights(op_type: str, width: int = 4, hidden: int = 3, directions: int = 1) -> dict[str, Any]:
    gates = GATES[op_type]
    return {
        "w": integers(directions, gates * hidden, width) / 4,
        "r": integers(directions, gates * hidden, hidden, seed=1) / 4,
        "bias": integers(directions, 2 * gates * hidden, seed=2) / 4,
    }


@styles
@pytest.mark.parametrize("op_type", [*GATES])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_the_users_sequence(style: str, op_type: str, direction: str) -> None:
    """x [L, B, D]: the cell runs on the rows that the user has."""
    directions = 2 if direction == "bidirectional" else 1
    attributes = f'<hidden_size = 3, direction = "{direction}">'
    body = f"""
        x = Transpose <perm = [1, 0, 2]> (user) seq, last = {op_type} {attributes} (x, w, r, bias)
        t = Transpose <perm = [1, 0, 2]> (last) f = Flatten (t) y = Mul (f, item)
    """
    model = ranking(
        style, body, user="float[5, 4]", item=f"float[{3 * directions}]", **weights(op_type, directions=directions)
    )
    result = rewrite_and_check(model, **CLOSE)
    assert "Expand" not in result.ops
    assert "B" not in map(str, result.program.values["last"].array.tensor.known_shape)


@styles
@pytest.mark.parametrize("stored", ["1, 4", "5, 1"])
def test_steps_that_are_not_stored(style: str, stored: str) -> None:
    """The cell sees each of them."""
    body = """
        e = Expand (user, wide) x = Transpose <perm = [1, 0, 2]> (e) seq, last = GRU <hidden_size = 3> (x, w, r, bias)
        f = Squeeze (last, zero_) y = Mul (f, item)
    """
    model = ranking(style, body, user=f"float[{stored}]", wide=[1, 5, 4], zero_=[0], **weights("GRU"))
    result = rewrite_and_check(model, **CLOSE)
    assert "B" not in map(str, result.program.values["last"].array.tensor.known_shape)


def test_an_output_that_is_left_out_stays_left_out() -> None:
    body = """
        x = Transpose <perm = [1, 0, 2]> (user) seq, last = GRU <hidden_size = 3> (x, w, r)
        f = Squeeze (last, zero_) y = Mul (f, item)
    """
    stored: dict[str, Any] = {k: v for k, v in weights("GRU").items() if k != "bias"}
    model = ranking("one", body, user="float[5, 4]", zero_=[0], **stored)
    next(n for n in model.graph.node if n.op_type == "GRU").output[0] = ""
    result = rewrite_and_check(model, **CLOSE)
    assert result.nodes("GRU")[0].output[0] == ""


@styles
@pytest.mark.parametrize("start", ["user", "item"])
def test_an_initial_state_of_the_other_side(style: str, start: str) -> None:
    """The sequence is the user's and the state the candidate's, or the reverse: written out where they meet."""
    sequence = "item" if start == "user" else "user"
    body = f"""
        s = Reshape ({sequence}, steps) x = Transpose <perm = [1, 0, 2]> (s) h = Unsqueeze ({start}, zero_)
        seq, last = GRU <hidden_size = 4> (x, w, r, bias, , h) y = Squeeze (last, zero_)
    """
    constants: dict[str, Any] = {"steps": [-1, 2, 2], "zero_": [0], **weights("GRU", width=2, hidden=4)}
    rewrite_and_check(ranking(style, body, item="float[4]", **constants), **CLOSE)


@styles
def test_lengths_of_sequences(style: str) -> None:
    body = """
        x = Transpose <perm = [1, 0, 2]> (user) k = ReduceMax <axes = [1, 2], keepdims = 0> (user)
        a = Abs (k) n = Cast <to = 6> (a)
        seq, last = LSTM <hidden_size = 3> (x, w, r, bias, n) f = Squeeze (last, zero_) y = Mul (f, item)
    """
    model = ranking(style, body, user="float[5, 4]", zero_=[0], **weights("LSTM"))
    result = rewrite_and_check(model, **CLOSE)
    assert "Expand" not in result.ops


def test_the_other_layout_is_refused() -> None:
    body = """
        seq, last = GRU <hidden_size = 3, layout = 1> (user, w, r, bias) m = ReduceMax <keepdims = 0> (last)
        y = Add (m, item)
    """
    result = rewrite(ranking("one", body, user="float[5, 4]", **weights("GRU")))
    assert result.refusals("GRU") == ["GRU with layout = 1"]
    assert "Expand" in result.ops


def test_the_graph() -> None:
    """The cell runs on one row."""
    body = """x = Transpose <perm = [1, 0, 2]> (user) seq, last = GRU <hidden_size = 3> (x, w, r, bias)
              f = Squeeze (last, zero_) y = Mul (f, item)"""
    model = ranking("one", body, user="float[5, 4]", output="float[B, 3] y", zero_=[0], **weights("GRU"))
    result = rewrite_and_check(model, **CLOSE)
    assert result.graph == [
        "user_row.reshape [5 1 4] = Reshape (user_row)",
        "seq.user [5 1 1 3], last.user [1 1 3] = GRU (user_row.reshape, w, r, bias)",
        "last.user.reshape [1 3] = Reshape (last.user)",
        "y [B 3] = Mul (last.user.reshape, item)",
    ]
