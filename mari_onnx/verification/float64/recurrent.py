"""GRU, LSTM and RNN in float64, with lengths of sequences, which neither onnxruntime nor ONNX's interpreter has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx

from mari_onnx.verification.runtimes.onnxruntime import Array, RunError

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}

Activation = Callable[[Array], Array]
Step = Callable[[Array, tuple[Array, ...]], tuple[Array, ...]]


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.logaddexp(0, x),
}


def recurrent(node: onnx.NodeProto, inputs: Sequence[Array | None]) -> list[Array]:
    """The outputs of a GRU, LSTM or RNN, as the ONNX specification defines them.

    X is [steps, batch, features], or [batch, steps, features] with layout 1. Beyond the length of its sequence an
    output is 0, and the last state is that of the last step within the length. Raises NotImplementedError for
    activations and attributes that are not implemented, and RunError where every sequence is empty, because
    onnxruntime may crash the whole process on such inputs.
    """
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "LSTM" and "clip" in given:
        raise NotImplementedError("runtimes do not agree on what an LSTM clips")
    x, w, r = (_present(i) for i in inputs[:3])
    more: list[Array | None] = [*inputs[3:], *[None] * (8 - len(inputs))]
    bias, lengths, states, peepholes = more[0], more[1], more[2:4], more[4]
    if given.get("layout", 0):
        x = x.swapaxes(0, 1)
        states = [None if s is None else s.swapaxes(0, 1) for s in states]
    steps, batch = x.shape[:2]
    hidden = r.shape[-1]
    lengths = np.full(batch, steps) if lengths is None else lengths
    if not lengths.any():
        raise RunError(f"every sequence of {node.op_type} `{node.output[0] or node.output[1]}` is empty")

    directions = w.shape[0]
    kept = 2 if node.op_type == "LSTM" else 1
    names = [n.decode() for n in given.get("activations", ())] or [*_DEFAULTS[node.op_type]] * directions
    per = len(names) // directions
    ys, finals = [], []
    for d in range(directions):
        backwards = given.get("direction", b"forward") == b"reverse" or d == 1
        functions = [_activation(name, given) for name in names[d * per : (d + 1) * per]]
        b = np.zeros((2, _GATES[node.op_type] * hidden)) if bias is None else bias[d].reshape(2, -1)
        p = np.zeros((3, hidden)) if peepholes is None else peepholes[d].reshape(3, hidden)
        step = _step(node.op_type, w[d], r[d], b, p, functions, given)
        start = tuple(np.zeros((batch, hidden)) if s is None else s[d] for s in states[:kept])
        y, final = _run(step, x, lengths.astype(np.int64), start, backwards)
        ys.append(y)
        finals.append(final)
    y = np.stack(ys, 1)  # [steps, directions, batch, hidden]
    last = [np.stack(each) for each in zip(*finals, strict=True)]
    if given.get("layout", 0):
        return [y.transpose(2, 0, 1, 3), *(each.swapaxes(0, 1) for each in last)][: len(node.output)]
    return [y, *last][: len(node.output)]


def _present(x: Array | None) -> Array:
    assert x is not None
    return x


def _activation(name: str, given: dict[str, Any]) -> Activation:
    if name.lower() not in _ACTIVATIONS or given.get("activation_alpha") or given.get("activation_beta"):
        raise NotImplementedError(f"activation {name}")
    function, clip = _ACTIVATIONS[name.lower()], given.get("clip")
    return function if clip is None else lambda x: function(np.clip(x, -clip, clip))


def _run(
    step: Step, x: Array, lengths: Array, start: tuple[Array, ...], backwards: bool
) -> tuple[Array, tuple[Array, ...]]:
    """All steps of one direction: the outputs, [steps, batch, hidden], and the last states, each [batch, hidden]."""
    steps, batch = x.shape[:2]
    y = np.zeros((steps, batch, start[0].shape[-1]))
    states, rows = start, np.arange(batch)
    for t in range(steps):
        running = t < lengths
        at = np.where(running, lengths - 1 - t if backwards else t, 0)
        new = step(x[at, rows], states)
        states = tuple(np.where(running[:, None], n, s) for n, s in zip(new, states, strict=True))
        y[at[running], rows[running]] = states[0][running]
    return y, tuple(np.where((lengths > 0)[:, None], s, 0) for s in states)


def _step(
    op_type: str, w: Array, r: Array, b: Array, p: Array, functions: Sequence[Activation], given: dict[str, Any]
) -> Step:
    gate = partial(np.split, indices_or_sections=_GATES[op_type], axis=-1)

    def rnn(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        return (functions[0](x @ w.T + states[0] @ r.T + b[0] + b[1]),)

    def gru(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = states
        f, g = functions
        (xz, xr, xh), (_, _, rh), (_, _, bh) = gate(x @ w.T + b[0]), gate(r, axis=0), gate(b[1])
        hz, hr, hh = gate(h @ r.T + b[1])
        update, reset = f(xz + hz), f(xr + hr)
        candidate = g(xh + reset * hh) if given.get("linear_before_reset", 0) else g(xh + (reset * h) @ rh.T + bh)
        return ((1 - update) * candidate + update * h,)

    def lstm(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        h, c = states
        f, g, k = functions
        i, o, forget, cell = gate(x @ w.T + h @ r.T + b[0] + b[1])
        i = f(i + p[0] * c)
        forget = 1 - i if given.get("input_forget", 0) else f(forget + p[2] * c)
        c = forget * c + i * g(cell)
        return f(o + p[1] * c) * k(c), c

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm}[op_type]
