"""Which axes of inputs that have one name are one axis.

    user [batch, 4], item [batch, 3]    Concat(user, item) needs them to be equal, and the name says so: one axis
    history [batch, N], item [N, 3]     no operator needs N to be one extent: two axes
    history [N, N], item [N, 3]         a name that stands twice in one shape says nothing: three axes
    history [?, ?], item [?, 3]         nor does a question mark

Exporters and scripts give one name to axes that differ: `N` for the candidates and for the length of a history. An
extent would be read off the wrong input then. So the graph is interpreted with an axis for each dynamic dimension of
each input, `batch@user.0` and `batch@item.0`. Where a rule finds that it has to prove two of one name equal, they are
one (see `UnprovenError`). The interpretation ends where all axes of each name are.

That takes time, and nearly all names are those of the batch. A name of leading axes alone is taken at its word, unless
`rows_together` doubts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mari_onnx.analysis.interpret import equal_symbols
from mari_onnx.analysis.rows_together import names_in_doubt
from mari_onnx.document.graph_view import NO_NAME, Model
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import CLAIM

Place = tuple[str, int]
"""An axis of an input: its name, and the position of the axis."""


def settle_symbols(model: Model, batch: int) -> None:
    """Tell axes of inputs apart that have one name, where no operator needs them to be equal."""
    if not model.settled:
        model.settle(_symbols(model, batch))


def leading_names(model: Model) -> dict[str, str]:
    """By input, the exporter's name of its leading axis, where that says something."""
    names = {name: those for name, those in _places(model).items() if _says_something(name, those)}
    return {info: name for name, those in names.items() for info, axis in those if axis == 0}


def _says_something(name: str, places: Sequence[Place]) -> bool:
    """Whether a name is the exporter's word that these axes, which have it, are equal."""
    return name != NO_NAME and len({each for each, _ in places}) == len(places)


def _symbols(model: Model, batch: int) -> dict[Place, str]:
    """The symbols of those axes for which the exporter's name does not stand."""
    places = _places(model)
    apart = {p: _own(p) for name, those in places.items() if not _says_something(name, those) for p in those}
    shared = {name: those for name, those in places.items() if _says_something(name, those) and len(those) > 1}
    leading = {info: name for name, those in shared.items() if not any(a for _, a in those) for info, _ in those}
    believed = set(leading.values()) - names_in_doubt(model, leading)
    shared = {name: those for name, those in shared.items() if name not in believed}
    if not shared:
        return apart
    claims = {place: f"{name}{CLAIM}{_own(place)}" for name, those in shared.items() for place in those}

    def are_one(same: Mapping[str, str]) -> bool:
        return all(len({same.get(claims[place], claims[place]) for place in those}) == 1 for those in shared.values())

    same = equal_symbols(model.with_symbols({**apart, **claims}), CostModel(batch), are_one)
    for those in shared.values():
        axes: dict[str, list[Place]] = {}
        for place in those:
            axes.setdefault(same.get(claims[place], claims[place]), []).append(place)
        named = max(axes.values(), key=lambda alike: sum(axis == 0 for _, axis in alike))
        apart |= {place: _own(alike[0]) for alike in axes.values() if alike is not named for place in alike}
    return apart


def _places(model: Model) -> Mapping[str, list[Place]]:
    """The axes of inputs by the exporter's name for them."""
    found: dict[str, list[Place]] = {}
    for name, shape in model.input_shapes.items():
        for axis, extent in enumerate(shape or ()):
            if isinstance(extent, str):
                found.setdefault(extent, []).append((name, axis))
    return found


def _own(place: Place) -> str:
    """The symbol of an axis that has no name."""
    name, axis = place
    return f"{name}.{axis}"
