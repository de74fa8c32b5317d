"""Axes of inputs that have one name, drawn with different extents wherever the reference runs on that.

    history [N, N], item [N, 3]          history [7, 4], item [7, 3]: the reference runs, so that these are two axes
    user [batch, 4], item [batch, 3]     a Concat of both fails on user [4, 4], item [7, 3]: they are one

Exporters and scripts give one name to axes that differ. With equal extents, a model that reads the one off the other
would pass. What is tried is the inner axes of a name beside the leading ones, and then each axis alone.

A name is the exporter's promise that its axes are equal, unless it stands twice in one shape, or is a question mark. An
optimized model may rely on the promise, where it needs the axes to be equal and the reference does not. Then they are
drawn equal, and a note says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mari_onnx.document.graph_view import NO_NAME
from mari_onnx.report.note import Note
from mari_onnx.verification.inputs.cases import EDGE_BATCH
from mari_onnx.verification.inputs.draw import APART, Input, draw, extents
from mari_onnx.verification.inputs.ranges import Trace
from mari_onnx.verification.runtimes.onnxruntime import Array, Run, RunError, Values

Place = tuple[str, int]
"""An axis of an input: its name, and the position of the axis."""

MOST = 32
"""So many axes of one name are tried alone."""

CLOSE = 1e-3
"""Outputs that are so far apart, as a share of their scale, are those of models that read other extents."""


@dataclass
class _Trials:
    """The two models, and what is known about inputs on which they run."""

    traced: Trace
    tiled: Collection[str]
    runs: tuple[Run, Run]

    def of_reference(self, inputs: Sequence[Input]) -> tuple[Values, Values] | None:
        """Inputs drawn with these axes, and the reference's outputs; None if it does not run."""
        sizes = extents(inputs, EDGE_BATCH, self.traced.requests)
        rng = np.random.default_rng(0)
        feeds = draw(inputs, self.traced.bounds, sizes, rng, tiled=self.tiled)
        try:
            return feeds, self.runs[0](feeds)
        except RunError:
            return None

    def agree(self, feeds: Values, wanted: Values) -> bool:
        """Whether the optimized model runs as well, and gives roughly the same."""
        try:
            found = self.runs[1](feeds)
        except RunError:
            return False
        return all(_alike(found[name], value) for name, value in wanted.items())


def _alike(found: Array, wanted: Array) -> bool:
    if found.shape != wanted.shape or wanted.dtype.kind != "f":
        return bool(np.array_equal(found, wanted))
    scale = float(np.abs(wanted, where=np.isfinite(wanted), out=np.zeros_like(wanted)).max(initial=0.0))
    return bool(np.allclose(found, wanted, rtol=0, atol=CLOSE * scale, equal_nan=True))


def drawn_apart(
    inputs: Sequence[Input],
    traced: Trace,
    tiled: Collection[str],
    runs: tuple[Run, Run],
    notes: list[Note],
) -> list[Input]:
    """The inputs with a symbol of its own for each axis that need not be equal to those of its name.

    The rows of a `tiled` input are as many as there are candidates, as the caller repeats them.
    """
    trials, apart = _Trials(traced, tiled, runs), list(inputs)
    for name, places in _shared(inputs).items():
        promised = name != NO_NAME and len({each for each, _ in places}) == len(places)
        for chosen in _choices(places, tiled):
            if _is_apart(apart, chosen):
                continue
            tried = _renamed(apart, dict.fromkeys(chosen, f"{name}{APART}{_shown(chosen[0])}"))
            found = trials.of_reference(tried)
            if found is None:
                continue
            if promised and not trials.agree(*found) and trials.of_reference(apart) is not None:
                others = [place for place in places if place not in chosen]
                said = f"{', '.join(map(_shown, chosen))} and {', '.join(map(_shown, others))}"
                needs = f"the optimized model needs axes named `{name}` to be equal, and the reference does not"
                notes.append(Note("axes-equal", f"{needs}: {said}"))
                continue
            apart = tried
    return apart


def _shared(inputs: Iterable[Input]) -> Mapping[str, list[Place]]:
    """The axes of each name that several axes have."""
    found: dict[str, list[Place]] = {}
    for each in inputs:
        for axis, extent in enumerate(each.dims):
            if isinstance(extent, str):
                found.setdefault(extent, []).append((each.name, axis))
    return {name: places for name, places in found.items() if len(places) > 1}


def _is_apart(inputs: Iterable[Input], chosen: Sequence[Place]) -> bool:
    """Whether no other axis has the symbol of these axes."""
    symbols = {(each.name, axis): dim for each in inputs for axis, dim in enumerate(each.dims)}
    alike = [place for place, dim in symbols.items() if dim == symbols[chosen[0]]]
    return sorted(alike) == sorted(chosen)


def _choices(places: Sequence[Place], tiled: Collection[str]) -> list[list[Place]]:
    """The axes that are given another extent together, in the order in which that is tried."""
    inner = [place for place in places if place[1]]
    together = [inner] if 1 < len(inner) < len(places) else []
    return [*together, *([place] for place in places[:MOST] if place[1] or place[0] not in tiled)]


def _renamed(inputs: Iterable[Input], names: Mapping[Place, str]) -> list[Input]:
    return [
        replace(each, dims=tuple(names.get((each.name, axis), dim) for axis, dim in enumerate(each.dims)))
        for each in inputs
    ]


def _shown(place: Place) -> str:
    name, axis = place
    return f"`{name}`[{axis}]"
