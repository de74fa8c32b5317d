"""How a model was split, as part of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "item", "rank"]


@dataclass(frozen=True)
class Crossing:
    """A value that the ranking model of a split takes from the user's or the items' side (`role`).

    `computed` says whether it is an output of the model there, or an input of the original that is sent unchanged.
    `bytes` is its size for one request, or for one item.
    """

    role: Role
    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    bytes: int
    computed: bool


@dataclass(frozen=True)
class Part:
    """One of the models of a split; `macs` are its multiply-adds at the number of candidates of `Cost.batch`."""

    role: Role
    nodes: int
    macs: int
    bytes: int
    written: str | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Split:
    """How a model was split. The ranking model is the last of `parts`, and `choice` says in words why it was cut there.

    `macs` are the multiply-adds of the optimized model in one piece. The models of this split have the `fingerprint` in
    their metadata, and those of no other; None without metadata. Where numbers cross in another type than that of the
    original, it is the `crossing`, and `moved` is how far that moves scores at most, as a share of their scale.
    """

    parts: tuple[Part, ...]
    crossings: tuple[Crossing, ...]
    choice: tuple[str, ...]
    macs: int
    fingerprint: str | None = None
    crossing: str | None = None
    moved: float | None = None
