"""A graph as part of a report: its nodes, what they read, and what their elements follow from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dependence = Literal["request", "candidates", "both", "neither"]
"""Whose inputs the elements of a tensor follow from; those of constants and of extents follow from neither's."""


@dataclass(frozen=True)
class GraphNode:
    """A node with the tensors that it reads and makes, without weights; an input of the graph has no `op_type`.

    `scope` is the path of the module that the node belongs to, such as `("tower", "fc1")`. `macs` are its multiply-adds
    at the number of candidates of `Cost.batch`, None where they are not known. `original` is the tensor of the original
    that the first output is a form of, or that is this very tensor.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    follows: Dependence
    scope: tuple[str, ...] = ()
    macs: int | None = None
    original: str = ""


@dataclass(frozen=True)
class Graph:
    """A graph: what it is in words, such as "before", its inputs and then its nodes in order, and its outputs."""

    title: str
    nodes: tuple[GraphNode, ...]
    outputs: tuple[str, ...]
