"""Ways to damage an optimized model, each of which a verification has to see.

A mutation takes a copy of a model and a source of random numbers, damages the model in one place, and says where; it
says None when the model has nothing that it could damage. Most of them are mistakes that a rewrite could make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
T = TypeVar("T")
Rng = np.random.Generator
Mutation = Callable[["Patient", Rng], "str | None"]

MUTATIONS: dict[str, Mutation] = {}


def mutation(function: Mutation) -> Mutation:
    MUTATIONS[function.__name__] = function
    return function


class Patient:
    """A model that can be looked into and edited."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.constants = {t.name: t for t in self.graph.initializer}

    def nodes(self, *op_types: str) -> list[NodeProto]:
        return [node for node in self.graph.node if node.op_type in op_types]

    def one_of(self, rng: Rng, *op_types: str) -> NodeProto | None:
        found = self.nodes(*op_types)
        return found[rng.integers(len(found))] if found else None

    def array(self, name: str) -> Array:
        return numpy_helper.to_array(self.constants[name]).copy()

    def store(self, name: str, array: Array) -> str:
        self.constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def named(self, array: npt.ArrayLike, name: str) -> str:
        """A new constant."""
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self) -> list[tuple[str, int]]:
        """Stored operands of products, of more than one row, and the axis along which they are contracted."""
        found = {}
        for node in self.nodes("MatMul", "Gemm"):
            for i, name in enumerate(node.input[:2]):
                if name in self.constants and len(self.constants[name].dims) == 2:
                    turned = any(a.name == ("transA", "transB")[i] and a.i for a in node.attribute)
                    found[name] = int((i == 0) != turned)
        return sorted((name, axis) for name, axis in found.items() if self.constants[name].dims[axis] > 1)

    def biases(self) -> list[str]:
        found = {node.input[2] for node in self.nodes("Gemm") if len(node.input) > 2}
        for node in self.nodes("Add"):
            found |= set(node.input)
        return sorted(
            n for n in found & self.constants.keys() if self.array(n).dtype == np.float32 and self.array(n).any()
        )

    def tables(self) -> list[str]:
        found = {node.input[0] for node in self.nodes("Gather")} & self.constants.keys()
        return sorted(name for name in found if self.array(name).ndim == 2 and self.array(name).dtype == np.float32)

    def after(self, tensor: str, *nodes: NodeProto, users: list[NodeProto] | None = None) -> None:
        """Have everybody (or these users) who reads a tensor read the output of the last of these nodes instead."""
        new = nodes[-1].output[0]
        users = [node for node in self.graph.node if tensor in node.input] if users is None else users
        for node in users:
            for i, name in enumerate(node.input):
                node.input[i] = new if name == tensor else name
        made = next((i for i, node in enumerate(self.graph.node) if tensor in node.output), -1)
        for offset, node in enumerate(nodes, 1):
            self.graph.node.insert(made + offset, node)

    def output(self, rng: Rng, *nodes: tuple[str, list[str], dict[str, Any]]) -> str:
        """Put nodes between an output and what computes it; "@" is what the one before computes."""
        output: str = pick(rng, self.graph.output).name
        maker = next(node for node in self.graph.node if output in node.output)
        for i, name in enumerate(maker.output):
            maker.output[i] = "whole" if name == output else name
        for node in self.graph.node:
            for i, name in enumerate(node.input):
                node.input[i] = "whole" if name == output else name
        last = "whole"
        for k, (op_type, inputs, attributes) in enumerate(nodes):
            made = output if k == len(nodes) - 1 else f"{output}.step{k}"
            names = [last if name == "@" else name for name in inputs]
            self.graph.node.append(helper.make_node(op_type, names, [made], **attributes))
            last = made
        return output


def pick(rng: Rng, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


# Weights


def on_weight(change: Callable[[Array, int, Rng], Array]) -> Mutation:
    """A mutation of one stored operand of a product; `change` gets it and the axis along which it is contracted."""

    def mutate(patient: Patient, rng: Rng) -> str | None:
        if not (weights := patient.weights()):
            return None
        name, axis = pick(rng, weights)
        return patient.store(name, change(patient.array(name), axis, rng))

    return mutate


def on_rows(change: Callable[[Array, Rng], None], *, axis: int | None = None) -> Mutation:
    """The same for some of its rows along one axis, which are changed in place: they come first."""

    def whole(array: Array, contracted: int, rng: Rng) -> Array:
        rows = np.moveaxis(array, contracted if axis is None else 1 - contracted, 0)
        change(rows, rng)
        return array

    return on_weight(whole)


def scaled(factor: float, *, one: bool = True) -> Callable[[Array, Rng], None]:
    def change(rows: Array, rng: Rng) -> None:
        rows[rng.integers(len(rows)) if one else slice(None)] *= np.float32(factor)

    return change


def swapped(rows: Array, rng: Rng) -> None:
    i = int(rng.integers(len(rows) - 1)) if len(rows) > 1 else 0
    rows[[i, -1]] = rows[[-1, i]]


def element(weight: Array, _: int, rng: Rng) -> Array:
    largest = np.argsort(np.abs(weight), axis=None)[-max(1, weight.size // 4) :]
    weight.flat[int(pick(rng, list(largest)))] *= np.float32(1.01)
    return weight


def zeroed(rows: Array, rng: Rng) -> None:
    rows[rng.integers(len(rows))] = 0


MUTATIONS |= {
    "an element of a weight off by 1 %": on_weight(element),
    "a row of a weight off by 1 %": on_rows(scaled(1.01)),
    "a row of a weight off by 0.1 %": on_rows(scaled(1.001)),
    "a weight off by 0.1 %": on_rows(scaled(1.001, one=False)),
    "a weight off by 0.01 %": on_rows(scaled(1.0001, one=False)),
    "a weight negated": on_rows(scaled(-1.0, one=False)),
    "a row of a weight dropped": on_rows(zeroed),
    "two rows of a weight swapped": on_rows(swapped),
    "two columns of a weight swapped": on_rows(swapped, axis=1),
    "the rows of a weight off by one": on_weight(lambda w, axis, _: np.roll(w, 1, axis)),
    "the columns of a weight off by one": on_weight(lambda w, axis, _: np.roll(w, 1, 1 - axis)),
    "the rows of a weight turned round": on_weight(lambda w, axis, _: np.flip(w, axis)),
    "the halves of a weight swapped": on_weight(lambda w, axis, _: np.roll(w, w.shape[axis] // 2, axis)),
    "a weight stored in half precision": on_weight(lambda w, *_: w.astype(np.float16).astype(np.float32)),
}


# Biases, tables and other constants


def on_constant(names: Callable[[Patient], list[str]], change: Callable[[Array, Rng], Array]) -> Mutation:
    def mutate(patient: Patient, rng: Rng) -> str | None:
        found = names(patient)
        if not found:
            return None
        name = pick(rng, found)
        return patient.store(name, change(patient.array(name), rng))

    return mutate


def row_of(change: Callable[[Array], Array], row: int | None = None) -> Callable[[Array, Rng], Array]:
    def changed(table: Array, rng: Rng) -> Array:
        i = rng.integers(len(table)) if row is None else row
        table[i] = change(table[i])
        return table

    return changed


def scalars(patient: Patient) -> list[str]:
    read = {name for node in patient.nodes("Mul", "Div", "Pow", "Add", "Sub") for name in node.input}
    return sorted(n for n in read & patient.constants.keys() if patient.array(n).size == 1 and patient.array(n).any())


MUTATIONS |= {
    "a bias dropped": on_constant(Patient.biases, lambda b, _: np.zeros_like(b)),
    "a bias added twice": on_constant(Patient.biases, lambda b, _: 2 * b),
    "a bias off by 1 %": on_constant(Patient.biases, lambda b, _: b * np.float32(1.01)),
    "the elements of a bias off by one": on_constant(Patient.biases, lambda b, _: np.roll(b, 1)),
    "a row of a table off by 1 %": on_constant(Patient.tables, row_of(lambda row: row * np.float32(1.01) + 1e-3)),
    "the rows of a table off by one": on_constant(Patient.tables, lambda t, _: np.roll(t, 1, 0)),
    "the last row of a table dropped": on_constant(Patient.tables, row_of(np.zeros_like, -1)),
    "the padding's row of a table changed": on_constant(Patient.tables, row_of(lambda row: row + np.float32(0.1), 0)),
    "a table stored in half precision": on_constant(
        Patient.tables, lambda t, _: t.astype(np.float16).astype(np.float32)
    ),
    "a factor off by 1 %": on_constant(scalars, lambda c, _: (c * 1.01).astype(c.dtype)),
}


# Operators


def becomes(old: str, new: str, **attributes: object) -> Mutation:
    """One node of an operator becomes another operator."""

    def mutate(patient: Patient, rng: Rng) -> str | None:
        node = patient.one_of(rng, *old.split())
        if node is None:
            return None
        node.op_type = new
        if attributes or new == "Identity":
            del node.attribute[:]
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        return f"{old} {node.output[0]}"

    return mutate


def operands_swapped(*op_types: str) -> Mutation:
    def mutate(patient: Patient, rng: Rng) -> str | None:
        node = patient.one_of(rng, *op_types)
        if node is None:
            return None
        i, j = (1, 2) if node.op_type == "Where" else (0, 1)
        node.input[i], node.input[j] = node.input[j], node.input[i]
        return f"{node.op_type} {node.output[0]}"

    return mutate


def attribute(op_types: str, name: str, change: Callable[[int], float], default: int) -> Mutation:
    def mutate(patient: Patient, rng: Rng) -> str | None:
        node = patient.one_of(rng, *op_types.split())
        if node is None:
            return None
        found = [a for a in node.attribute if a.name == name]
        value = helper.get_attribute_value(found[0]) if found else default
        for a in found:
            node.attribute.remove(a)
        node.attribute.append(helper.make_attribute(name, change(value)))
        return f"{node.op_type} {node.output[0]}"

    return mutate


MUTATIONS |= {
    "a difference the other way round": operands_swapped("Sub"),
    "a quotient the other way round": operands_swapped("Div"),
    "a choice the other way round": operands_swapped("Where"),
    "two parts of a Concat swapped": operands_swapped("Concat"),
    "Add becomes Sub": becomes("Add", "Sub"),
    "Sub becomes Add": becomes("Sub", "Add"),
    "Mul becomes Add": becomes("Mul", "Add"),
    "an activation dropped": becomes("Relu PRelu LeakyRelu Tanh", "Identity"),
    "Relu becomes Abs": becomes("Relu", "Abs"),
    "Relu becomes a leaky one": becomes("Relu", "LeakyRelu", alpha=0.001),
    "Sigmoid becomes HardSigmoid": becomes("Sigmoid", "HardSigmoid"),
    "a Softmax along another axis": attribute("Softmax", "axis", lambda axis: 0 if axis else 1, -1),
    "a mask inverted": becomes("Not", "Identity"),
    "a sum becomes a mean": becomes("ReduceSum", "ReduceMean"),
    "a mean becomes a maximum": becomes("ReduceMean", "ReduceMax"),
    "a Gemm without its C": attribute("Gemm", "beta", lambda _: 0.0, 1),
    "a Gemm that is 0.1 % too large": attribute("Gemm", "alpha", lambda _: 1.001, 1),
    "a Concat along another axis": attribute("Concat", "axis", lambda axis: axis - 1, 1),
}


@mutation
def a_Gemm_the_other_way_round(patient: Patient, rng: Rng) -> str | None:  # noqa: N802
    """transB of a square weight."""
    square = [n for n in patient.nodes("Gemm") if n.input[1] in patient.constants]
    square = [n for n in square if len({*patient.constants[n.input[1]].dims}) == 1]
    if not square:
        return None
    node = pick(rng, square)
    turned = [a for a in node.attribute if a.name == "transB"]
    value = turned[0].i if turned else 0
    for a in turned:
        node.attribute.remove(a)
    node.attribute.append(helper.make_attribute("transB", 1 - value))
    return str(node.output[0])


# Slices and indices


def _bounds(patient: Patient, node: NodeProto) -> list[str]:
    return [name for name in node.input[1:3] if name in patient.constants]


@mutation
def a_slice_off_by_one(patient: Patient, rng: Rng) -> str | None:
    """[start, stop) becomes [start + 1, stop + 1), or one less where that would be out of the tensor."""
    nodes = [node for node in patient.nodes("Slice") if len(_bounds(patient, node)) == 2]
    if not nodes:
        return None
    node = pick(rng, nodes)
    by = 1 if patient.array(node.input[1]).max() == 0 else -1
    for i, name in enumerate(node.input[1:3], 1):
        node.input[i] = patient.named(patient.array(name) + by, f"moved{i}")
    return str(node.output[0])


@mutation
def a_slice_of_another_tensor(patient: Patient, rng: Rng) -> str | None:
    """Two slices take each other's bounds."""
    nodes = [node for node in patient.nodes("Slice") if len(_bounds(patient, node)) == 2]
    if len(nodes) < 2:
        return None
    first, second = (nodes[i] for i in rng.choice(len(nodes), 2, replace=False))
    first.input[0], second.input[0] = second.input[0], first.input[0]
    return f"{first.output[0]}, {second.output[0]}"


@mutation
def columns_in_another_order(patient: Patient, rng: Rng) -> str | None:
    """The constant index of a Gather, or the sizes of a Split, turned round."""
    nodes = [n for n in patient.nodes("Gather", "Split") if len(n.input) > 1 and n.input[1] in patient.constants]
    nodes = [node for node in nodes if patient.array(node.input[1]).size > 1]
    if not nodes:
        return None
    node = pick(rng, nodes)
    node.input[1] = patient.named(patient.array(node.input[1])[::-1].copy(), "turned")
    return str(node.output[0])


def _lookups(patient: Patient) -> list[NodeProto]:
    """Gathers from a table by ids that are computed."""
    nodes = [node for node in patient.nodes("Gather") if node.input[1] not in patient.constants]
    return [node for node in nodes if node.input[0] in patient.tables()]


def _integers(patient: Patient, name: str) -> int:
    """The element type of an index."""
    known = {v.name: v.type.tensor_type.elem_type for v in (*patient.graph.input, *patient.graph.value_info)}
    return int(known.get(name, TensorProto.INT64))


@mutation
def the_largest_id_is_another(patient: Patient, rng: Rng) -> str | None:
    """Ids are clipped to the last row but one."""
    nodes = _lookups(patient)
    if not nodes:
        return None
    node = pick(rng, nodes)
    rows = patient.constants[node.input[0]].dims[0]
    dtype = helper.tensor_dtype_to_np_dtype(_integers(patient, node.input[1]))
    limit = patient.named(np.array(rows - 2, dtype), "last.but.one")
    index = node.input[1]
    patient.after(index, helper.make_node("Min", [index, limit], ["clipped"]), users=[node])
    return str(node.output[0])


@mutation
def ids_of_another_field(patient: Patient, rng: Rng) -> str | None:
    """Two lookups in tables of different fields take each other's ids."""
    nodes = _lookups(patient)
    pairs = [(a, b) for a in nodes for b in nodes if a.input[0] != b.input[0] and a.input[1] != b.input[1]]
    if not pairs:
        return None
    a, b = pick(rng, pairs)
    a.input[1], b.input[1] = b.input[1], a.input[1]
    return f"{a.output[0]}, {b.output[0]}"


def _request_rows(patient: Patient) -> list[NodeProto]:
    """Gathers of rows that are computed (or given) by an index that is."""
    nodes = [n for n in patient.nodes("Gather") if not {*n.input} & patient.constants.keys()]
    return [node for node in nodes if not any(a.name == "axis" and a.i for a in node.attribute)]


@mutation
def the_request_index_is_shifted(patient: Patient, rng: Rng) -> str | None:
    """Each candidate gets the rows of the next request."""
    nodes = _request_rows(patient)
    if not nodes:
        return None
    node = pick(rng, nodes)
    rows, index = node.input[0], node.input[1]
    steps = [
        helper.make_node("Shape", [rows], ["rows.shape"]),
        helper.make_node("Gather", ["rows.shape", patient.named(np.array(0), "first")], ["rows.count"]),
        helper.make_node("Add", [index, patient.named(np.array(1), "next")], ["index.next"]),
        helper.make_node("Mod", ["index.next", "rows.count"], ["index.shifted"]),
    ]
    at = list(patient.graph.node).index(node)
    for step in reversed(steps):
        patient.graph.node.insert(at, step)
    next(n for n in patient.graph.node if n.output[:1] == node.output[:1]).input[1] = "index.shifted"
    return str(node.output[0])


@mutation
def rows_of_the_first_request_for_all(patient: Patient, rng: Rng) -> str | None:
    """An Expand of the wrong row."""
    nodes = _request_rows(patient)
    if not nodes:
        return None
    node = pick(rng, nodes)
    index = node.input[1]
    patient.after(
        index, helper.make_node("Mul", [index, patient.named(np.array(0), "none")], ["index.first"]), users=[node]
    )
    return str(node.output[0])


@mutation
def a_stale_shape(patient: Patient, rng: Rng) -> str | None:
    """What is -1 in the shape of a Reshape is the number that it was for 64 candidates."""
    nodes = [node for node in patient.nodes("Reshape") if node.input[1] in patient.constants]
    nodes = [node for node in nodes if -1 in patient.array(node.input[1])]
    if not nodes:
        return None
    node = pick(rng, nodes)
    shape = patient.array(node.input[1])
    node.input[1] = patient.named(np.where(shape == -1, 64, shape), "stale")
    return str(node.output[0])


# Precision


def through_half(patient: Patient, name: str, users: list[NodeProto] | None = None) -> None:
    patient.after(
        name,
        helper.make_node("Cast", [name], [f"{name}.half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{name}.half"], [f"{name}.again"], to=TensorProto.FLOAT),
        users=users,
    )


@mutation
def a_product_in_half_precision(patient: Patient, rng: Rng) -> str | None:
    """A long sum is accumulated in float16."""
    nodes = [node for node in patient.nodes("MatMul", "Gemm") if node.output[0] not in _outputs(patient)]
    if not nodes:
        return None
    node = pick(rng, nodes)
    at = list(patient.graph.node).index(node)
    result = str(node.output[0])
    for i, name in enumerate(node.input):
        if name:
            patient.graph.node.insert(at, helper.make_node("Cast", [name], [f"{name}.half{i}"], to=TensorProto.FLOAT16))
    moved = next(n for n in patient.graph.node if result in n.output)
    for i, name in enumerate(moved.input):
        moved.input[i] = f"{name}.half{i}" if name else ""
    moved.output[0] = f"{result}.half"
    end = list(patient.graph.node).index(moved)
    patient.graph.node.insert(end + 1, helper.make_node("Cast", [f"{result}.half"], [result], to=TensorProto.FLOAT))
    return result


@mutation
def an_activation_in_half_precision(patient: Patient, rng: Rng) -> str | None:
    nodes = patient.nodes("Relu", "Sigmoid", "Tanh", "Softmax", "Mul")
    nodes = [node for node in nodes if node.output[0] not in _outputs(patient) and _is_float(patient, node)]
    if not nodes:
        return None
    node = pick(rng, nodes)
    through_half(patient, node.output[0])
    return str(node.output[0])


@mutation
def a_sum_that_cancels(patient: Patient, rng: Rng) -> str | None:
    """A large number is added before a sum and subtracted after it: the same function, and less accurate."""
    nodes = [node for node in patient.nodes("Gemm", "Sigmoid") if node.output[0] not in _outputs(patient)]
    if not nodes:
        return None
    node = pick(rng, nodes)
    name, far = str(node.output[0]), patient.named(np.float32(4096), "far")
    patient.after(
        name,
        helper.make_node("Add", [name, far], [f"{name}.far"]),
        helper.make_node("Sub", [f"{name}.far", far], [f"{name}.back"]),
    )
    return name


def _outputs(patient: Patient) -> set[str]:
    return {output.name for output in patient.graph.output}


def _is_float(patient: Patient, node: NodeProto) -> bool:
    if node.op_type != "Mul":
        return True
    known = {v.name: v.type.tensor_type.elem_type for v in patient.graph.value_info}
    return known.get(node.output[0]) == TensorProto.FLOAT


# Inputs and outputs


def _features(patient: Patient) -> Iterator[str]:
    for value in patient.graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in patient.constants:
            yield value.name


@mutation
def nan_is_swallowed(patient: Patient, rng: Rng) -> str | None:
    """A feature that is NaN counts as 0."""
    if not (features := list(_features(patient))):
        return None
    name = pick(rng, features)
    patient.after(
        name,
        helper.make_node("IsNaN", [name], ["is.nan"]),
        helper.make_node("Where", ["is.nan", patient.named(np.float32(0), "nought"), name], ["without.nan"]),
        users=[node for node in patient.graph.node if name in node.input],
    )
    return name


@mutation
def a_feature_is_clipped(patient: Patient, rng: Rng) -> str | None:
    """A feature counts for no more than 6: no usual value shows it."""
    if not (features := list(_features(patient))):
        return None
    name = pick(rng, features)
    bounds = [patient.named(np.float32(x), f"bound{x}") for x in (-6, 6)]
    patient.after(
        name,
        helper.make_node("Clip", [name, *bounds], ["clipped"]),
        users=[node for node in patient.graph.node if name in node.input],
    )
    return name


@mutation
def the_score_of_the_first_candidate_for_all(patient: Patient, rng: Rng) -> str | None:
    for name, value in (("start", 0), ("stop", 1)):
        patient.named(np.array([value]), f"first.{name}")
    output = patient.output(
        rng, ("Slice", ["@", "first.start", "first.stop", "first.start"], {}), ("Shape", ["whole"], {})
    )
    patient.graph.node[-1].output[0] = "whole.shape"
    patient.graph.node.append(helper.make_node("Expand", [f"{output}.step0", "whole.shape"], [output]))
    return output


@mutation
def the_candidates_turned_round(patient: Patient, rng: Rng) -> str | None:
    for name, value in (("last", -1), ("before", -(2**31)), ("rows", 0), ("back", -1)):
        patient.named(np.array([value]), f"turn.{name}")
    return patient.output(rng, ("Slice", ["@", "turn.last", "turn.before", "turn.rows", "turn.back"], {}))


@mutation
def scores_that_are_rounded(patient: Patient, rng: Rng) -> str | None:
    """To six decimals."""
    patient.named(np.float32(1e6), "million")
    return patient.output(rng, ("Mul", ["@", "million"], {}), ("Round", ["@"], {}), ("Div", ["@", "million"], {}))
