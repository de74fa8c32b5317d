"""Bodies, functions of the model, and operators without a rule."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.property.graphs import BOOL, FLOAT, INT64, LOCAL, B, L, Made, UnfitError, Writer
from tests.property.operators.ranges import hull, span


def if_(w: Writer) -> None:
    """With a condition that follows from shapes, or from data, and branches that capture."""
    x = w.floats(1)
    if w.chance(40):
        first = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1)
        inputs, attributes = w.axes_form("ReduceMin", list(range(first.rank)))
        least = w.write("ReduceMin", [first, *inputs], [], span(first), keepdims=0, **attributes)
        condition = w.write("Greater", [least, w.constant(np.array(-1, np.float32))], [], (0, 1), BOOL)
    else:
        rank = w.write("Size", [w.write("Shape", [x], [x.rank], (0, 10**6), INT64)], [], (0, 9), INT64)
        other = w.constant(np.array(x.rank + w.between(0, 1), np.int64))
        condition = w.write("Equal", [rank, other], [], (0, 1), BOOL)
    bodies = []
    for op in ("Neg", "Relu"):
        w.count += 1
        name = f"b{w.count}"
        info = helper.make_tensor_value_info(name, x.dtype, [None] * x.rank)
        bodies.append(helper.make_graph([helper.make_node(op, [x.name], [name])], op, [], [info]))
    bounds, branches = (-x.size, x.size), {"then_branch": bodies[0], "else_branch": bodies[1]}
    w.write("If", [condition], x.shape, bounds, x.dtype, exact=x.exact, **branches)


def local_function(w: Writer) -> None:
    """A call of a function that the model defines."""
    x = w.floats()
    w.functions = True
    w.write("Twice", [x], x.shape, (2 * x.low, 2 * x.high), domain=LOCAL)


def scan(w: Writer) -> None:
    """The largest so far, along the first dimension."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2)
    states = [m for m in w.made if m.dtype == FLOAT and m.shape == x.shape[1:]]
    if states:
        h = w.choice(states)
    else:
        axes, attributes = w.axes_form("ReduceMax", [0])
        h = w.write("ReduceMax", [x, *axes], x.shape[1:], span(x), keepdims=0, **attributes)
    w.count += 1
    names = [f"b{w.count}_{n}" for n in ("h", "x", "o", "p")]
    infos = [helper.make_tensor_value_info(name, FLOAT, [None] * (x.rank - 1)) for name in names]
    nodes = [helper.make_node("Max", names[:2], names[2:3]), helper.make_node("Neg", names[1:2], names[3:])]
    body = helper.make_graph(nodes, "largest", infos[:2], infos[2:])
    outputs = [(h.shape, hull(h, x), FLOAT), (x.shape, (-x.high, -x.low), FLOAT)]
    w.write_all("Scan", [h, x], outputs, num_scan_inputs=1, body=body)


def loop(w: Writer) -> None:
    """The largest so far of what the body reads by name, for some steps, or until one of all is large."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[0], int))
    times, until = w.between(1, int(str(x.shape[0]))), w.chance(30)
    states = [m for m in w.made if m.dtype == FLOAT and m.shape == x.shape[1:]]
    axes, attributes = w.axes_form("ReduceMax", [0])
    start = w.write("ReduceMax", [x, *axes], x.shape[1:], span(x), keepdims=0, **attributes)
    h = w.choice([*states, start])
    limit = w.constant(np.array(w.between(1, 4), np.float32))
    w.count += 1
    i, go, state, on, step, largest, found = (f"b{w.count}_{n}" for n in ("i", "go", "h", "on", "x", "o", "p"))
    nodes = [
        helper.make_node("Gather", [x.name, i], [step], axis=0),
        helper.make_node("Max", [state, step], [largest]),
        helper.make_node("Neg", [step], [found]),
    ]
    if until:
        nodes.append(helper.make_node("ReduceMax", [largest], [f"{on}_"], keepdims=0))
        nodes.append(helper.make_node("Less", [f"{on}_", limit.name], [on]))
    else:
        nodes.append(helper.make_node("Identity", [go], [on]))

    def info(name: str, dtype: int = FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, [None] * (x.rank - 1) if dtype == FLOAT else [])

    given, results = [info(i, INT64), info(go, BOOL), info(state)], [info(on, BOOL), info(largest)]
    outputs = [(h.shape, hull(h, x), FLOAT)]
    if not until:  # it would be of unknown length
        results.append(info(found))
        outputs.append(((times, *x.shape[1:]), (-x.high, -x.low), FLOAT))
    body = helper.make_graph(nodes, "largest", given, results)
    trips, yes = w.constant(np.array(times, np.int64)), w.constant(np.array(True))
    w.write_all("Loop", [trips, yes, h], outputs, body=body)


def bags(w: Writer) -> None:
    """EmbeddingBag: a loop over rows of ids, which collects a row for each, or adds it to a sequence."""
    if w.opset < 13:  # axes of Unsqueeze and ReduceSum as inputs
        raise UnfitError
    ids = w.pick(lambda m: m.dtype == INT64 and 0 <= m.low <= m.high <= 40 and _is_rows(m))
    width, columns = int(str(ids.shape[1])), w.between(1, 3)
    table = w.numbers([ids.high + 1, columns])
    at0, zero, last = (w.constant(np.array(v, np.int64)) for v in (0, [0], [2**62]))
    rows = w.write("Gather", [w.write("Shape", [ids], [2], (0, 40), INT64), at0], [], (0, 40), INT64)
    step = w.constant(np.array(width, np.int64))
    size = w.write("Mul", [rows, step], [], (0, 40 * width), INT64)
    offsets = w.write("Range", [at0, size, step], [ids.shape[0]], (0, 40 * width), INT64)
    flat = w.write("Reshape", [ids, w.ints([-1])], [ids.shape[0] * width], (ids.low, ids.high), INT64)
    whole = w.write("Unsqueeze", [size, zero], [1], (0, 40 * width), INT64)
    every = w.write("Concat", [offsets, whole], [ids.shape[0] + 1], (0, 40 * width), INT64, axis=0)
    ends = w.write("Slice", [every, w.ints([1]), last, zero], [ids.shape[0]], (0, 40 * width), INT64)
    sequence, wrong = w.chance(40), w.chance(20)
    reduction = "ReduceSum" if w.opset < 18 else w.choice(["ReduceSum", "ReduceMax"])
    w.count += 1
    i, go, on, start, stop, a, b = (f"b{w.count}_{n}" for n in ("i", "go", "on", "start", "stop", "a", "b"))
    bag, found, row = (f"b{w.count}_{n}" for n in ("bag", "e", "r"))
    nodes = [
        helper.make_node("Gather", [every.name, i], [start]),
        helper.make_node("Gather", [(every if wrong else ends).name, i], [stop]),
        helper.make_node("Unsqueeze", [start, zero.name], [a]),
        helper.make_node("Unsqueeze", [stop, zero.name], [b]),
        helper.make_node("Slice", [flat.name, a, b, zero.name], [bag]),
        helper.make_node("Gather", [table.name, bag], [found]),
        helper.make_node("ReduceSum" if wrong else reduction, [found, zero.name], [row], keepdims=int(sequence)),
        helper.make_node("Identity", [go], [on]),
    ]
    given = [helper.make_tensor_value_info(i, INT64, []), helper.make_tensor_value_info(go, BOOL, [])]
    results, bounds = [helper.make_tensor_value_info(on, BOOL, [])], (-2 * width, 2 * width)
    yes, shape = w.constant(np.array(True)), (ids.shape[0], columns)
    if not sequence:
        results.append(helper.make_tensor_value_info(row, FLOAT, [columns]))
        body = helper.make_graph(nodes, "bags", given, results)
        w.write_all("Loop", [rows, yes], [(shape, bounds, FLOAT)], body=body)
        return
    before, after = f"{row}_before", f"{row}_after"
    nodes.append(helper.make_node("SequenceInsert", [before, row], [after]))
    given.append(helper.make_tensor_sequence_value_info(before, FLOAT, [1, columns]))
    results.append(helper.make_tensor_sequence_value_info(after, FLOAT, [1, columns]))
    body = helper.make_graph(nodes, "bags", given, results)
    listed = w.hidden("Loop", [rows.name, yes.name, w.hidden("SequenceEmpty", [])], body=body)
    w.write("ConcatFromSequence", [Made(listed, (), FLOAT, 0, 0)], shape, bounds, FLOAT, axis=0)


def _is_rows(made: Made) -> bool:
    """Rows of ids, as many as there are candidates, say."""
    if made.rank != 2 or made.is_index or isinstance(made.shape[0], int):
        return False
    return isinstance(made.shape[1], int) and made.shape[1] > 0


def without_rule(w: Writer) -> None:
    match w.choice(["EyeLike", "Range"]):
        case "EyeLike":
            x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2)
            w.write("EyeLike", [x], x.shape, (0, 1))
        case "Range":  # positions
            extent = w.choice([B, L])
            start, step = (w.constant(np.array(v, np.int64)) for v in (0, 1))
            end = w.write("Gather", [w.extent(extent), start], [], (0, 7), INT64)
            w.write("Range", [start, end, step], [extent], (0, 6), INT64)
