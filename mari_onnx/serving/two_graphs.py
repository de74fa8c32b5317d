"""A model of two graphs: calls with few candidates run the graph as it was exported, all others the optimized one.

    y = If(Shape(item)[0] < 13, then: y.exported = ..., else: y.optimized = ...)

The request's part as nodes of its own saves work for many candidates. For one candidate it is only more nodes. Inputs
and constants lie in the graph around the branches, so that a weight that both read is stored once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mari_onnx.document.graph_view import NO_NAME
from mari_onnx.document.provenance import WHOLE, Origin, read, stamp
from mari_onnx.document.scopes import all_names, all_nodes, reads, rename, stored_names

KEY = "mari_onnx.two_graphs"
"""The key of the entry in `metadata_props`."""

BELOW = "exported_below"
"""The key of that entry: `{"exported_below": 13}`, the number of candidates from which on the optimized graph runs."""

OPSET = 9
"""The first opset in which Less compares integers."""

EXPORTED, OPTIMIZED = "exported", "optimized"
"""The names of the branches, and the last parts of the names of their outputs."""


UNFIT = frozenset({"If", "Attention"})
"""Operators of which onnxruntime takes no node, or none of unknown extents, within a branch."""


def can_be_branch(graph: onnx.GraphProto, opset: int) -> bool:
    """Whether a graph can be the branch of an If, which gives tensors that its nodes compute.

    A graph with an If of its own cannot: onnxruntime 1.32 loses the result of one that it folds within a branch. Nor
    can one with an Attention: behind it, shape inference makes an unknown width 0, and the memory for the results of a
    branch is taken by that.
    """
    computed = {name for node in graph.node for name in node.output}
    tensors = all(o.name in computed and o.type.tensor_type.elem_type for o in graph.output)
    unfit = any(node.op_type in UNFIT and node.domain in ("", "ai.onnx") for node in all_nodes(graph))
    return opset >= OPSET and tensors and not unfit and not graph.quantization_annotation


def join(optimized: onnx.ModelProto, exported: onnx.ModelProto, counted: tuple[str, int], below: int) -> None:
    """Make a model one of both, in place: calls with fewer than `below` candidates run `exported`.

    `counted` is an axis of an input, the one that counts the candidates. Inputs, outputs and all that is no graph stay
    those of `optimized`.
    """
    graph, (source, axis) = optimized.graph, counted
    names = _Names({*all_names(exported.graph), *all_names(graph)})
    moved = {name: names.new(f"{name}.{EXPORTED}") for name in _taken_otherwise(exported.graph, graph)}
    results = {kind: {o.name: names.new(f"{o.name}.{kind}") for o in graph.output} for kind in (EXPORTED, OPTIMIZED)}
    few = _branch(exported.graph, EXPORTED, {**moved, **results[EXPORTED]})
    many = _branch(graph, OPTIMIZED, results[OPTIMIZED])
    _add_constants(graph, exported.graph, moved)
    for content in (graph.node, graph.value_info):
        del content[:]
    made = {part: names.new(f"mari.candidates.{part}") for part in ("shape", "axis", "count", "below", "few")}
    for part, number in (("axis", axis), ("below", below)):
        value = numpy_helper.from_array(np.array(number, np.int64))
        graph.node.append(helper.make_node("Constant", [], [made[part]], value=value))
    graph.node.extend([
        helper.make_node("Shape", [source], [made["shape"]]),
        helper.make_node("Gather", [made["shape"], made["axis"]], [made["count"]]),
        helper.make_node("Less", [made["count"], made["below"]], [made["few"]]),
        helper.make_node(
            "If", [made["few"]], [o.name for o in graph.output],
            doc_string=f"with fewer than {below} candidates, the graph as it was exported",
            then_branch=few, else_branch=many,
        ),
    ])  # fmt: skip
    origins = _renamed(read(optimized), results[OPTIMIZED])
    stamp(optimized, {**origins, **{o.name: Origin(o.name, WHOLE, "two_graphs") for o in graph.output}})
    optimized.metadata_props.add(key=KEY, value=json.dumps({BELOW: below}))


class _Names(set[str]):
    """Names that are taken."""

    def new(self, wanted: str) -> str:
        """The wanted name, with a number behind it if it is taken; it is taken from now on."""
        name, count = wanted, 1
        while name in self:
            count += 1
            name = f"{wanted}.{count}"
        self.add(name)
        return name


def _taken_otherwise(exported: onnx.GraphProto, optimized: onnx.GraphProto) -> list[str]:
    """The names of the one graph that mean a constant in one of the two, and something else in the other.

    Constants lie around both graphs, where no name of a node's result may be that of a constant.
    """
    graphs = exported, optimized
    before, after = ({t.name: t for t in graph.initializer} for graph in graphs)
    constants, computed = [stored_names(graph) for graph in graphs], [_computed(graph) for graph in graphs]
    changed = {name for name, t in before.items() if name in constants[1] and t != after.get(name)}
    return sorted(changed | (constants[0] & computed[1]) | (computed[0] & constants[1]))


def _computed(graph: onnx.GraphProto) -> set[str]:
    """The names of all results of nodes, also in bodies."""
    return {name for node in all_nodes(graph) for name in node.output if name}


def _branch(graph: onnx.GraphProto, name: str, names: Mapping[str, str]) -> onnx.GraphProto:
    """The nodes of a graph as the branch of an If, with other names, and the shapes that are known of their results."""
    branch = onnx.GraphProto(name=name, doc_string=graph.doc_string)
    branch.node.extend(graph.node)
    branch.output.extend(graph.output)
    made = {name for node in graph.node for name in node.output}
    branch.value_info.extend(info for info in graph.value_info if info.name in made)
    _forget_doubtful_names(branch)
    rename(branch, names)
    return branch


def _forget_doubtful_names(branch: onnx.GraphProto) -> None:
    """Drop the names of extents that need not be one: `?`, and `N` where a shape is [N, N].

    Of extents with one name, onnxruntime computes one tensor in the buffer of another. In a graph it does not where the
    other is an output, and the results of a branch are no outputs of the graph.
    """
    infos = (*branch.value_info, *branch.output)
    shapes = [[dim for dim in info.type.tensor_type.shape.dim if dim.dim_param] for info in infos]
    doubtful = {NO_NAME}
    for shape in shapes:
        names = [dim.dim_param for dim in shape]
        doubtful |= {name for name in names if names.count(name) > 1}
    for dim in (dim for shape in shapes for dim in shape if dim.dim_param in doubtful):
        dim.Clear()


def _add_constants(graph: onnx.GraphProto, exported: onnx.GraphProto, moved: Mapping[str, str]) -> None:
    """Add the constants of the exported graph that the other one does not have, in place."""
    known = stored_names(graph)
    for tensor in exported.initializer:
        if moved.get(tensor.name, tensor.name) not in known:
            graph.initializer.append(tensor)
            graph.initializer[-1].name = moved.get(tensor.name, tensor.name)
    for sparse in exported.sparse_initializer:
        if sparse.values.name not in known:
            graph.sparse_initializer.append(sparse)


def exported_below(model: onnx.ModelProto) -> int | None:
    """With how many candidates the optimized graph of a model of two runs, and not with fewer; None for any other."""
    return None if (found := _found(model)) is None else found[0]


def optimized_alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """The optimized graph of a model of two, as a model; any other model as it is."""
    found = _found(model)
    if found is None:
        return model
    _, node, branch = found
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    del graph.node[:]
    graph.node.extend(branch.node)
    graph.value_info.extend(branch.value_info)
    names = {inner.name: outer for inner, outer in zip(branch.output, node.output, strict=True)}
    rename(graph, names)
    used = {name for each in graph.node for name in reads(each)} | {i.name for i in graph.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    own = {name: origin for name, origin in read(model).items() if name not in names.values()}
    stamp(out, _renamed(own, names))
    others = [entry for entry in out.metadata_props if entry.key != KEY]
    del out.metadata_props[:]
    out.metadata_props.extend(others)
    return out


def _renamed(origins: Mapping[str, Origin], names: Mapping[str, str]) -> dict[str, Origin]:
    return {names.get(name, name): origin for name, origin in origins.items()}


def _found(model: onnx.ModelProto) -> tuple[int, onnx.NodeProto, onnx.GraphProto] | None:
    """What the metadata says, the If and its branch; None for a model that was not written so, or was changed since."""
    entry = next((entry.value for entry in model.metadata_props if entry.key == KEY), "{}")
    try:
        below = json.loads(entry)[BELOW]
    except (ValueError, KeyError, TypeError):
        return None
    outputs = [o.name for o in model.graph.output]
    for node in model.graph.node:
        branch = next((a.g for a in node.attribute if a.name == "else_branch"), None)
        if node.op_type == "If" and list(node.output) == outputs and branch is not None and isinstance(below, int):
            return below, node, branch
    return None
