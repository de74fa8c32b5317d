"""Inputs that tell models apart: distinct items, a distinct user, ids drawn from the whole of their tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnxruntime as ort

from mari_onnx.errors import UserError
from mari_onnx.verification.inputs.cases import Style
from mari_onnx.verification.runtimes.onnxruntime import Array

REQUESTS = 3
"""How many requests a batch of several holds."""

LENGTH = 5
"""The extent of a dynamic axis that is not the batch, such as a history's length."""

LARGE, LARGE_HALF = 1000.0, 30.0
"""What a feature is when it is large; one in half precision is less, so that sums of it stay in its range."""

_MIN_SEQUENCE = 4
_HALF = 2

_DTYPES: dict[str, np.dtype[np.generic]] = {
    "float": np.dtype("float32"),
    "double": np.dtype("float64"),
    "string": np.dtype("str"),
    **{name: np.dtype(name) for name in ("float16", "bool", "int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
}


@dataclass(frozen=True)
class Input:
    """A graph input; a dynamic axis is a symbol, unique to the axis where the model gives no name."""

    name: str
    dtype: np.dtype[np.generic]
    dims: tuple[int | str, ...]

    def shape(self, extents: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where the symbols have these extents."""
        return tuple(dim if isinstance(dim, int) else extents[dim] for dim in self.dims)

    @property
    def rows(self) -> str | None:
        """The symbol of the leading axis; None where that is literal or absent."""
        return self.dims[0] if self.dims and isinstance(self.dims[0], str) else None


@dataclass(frozen=True)
class Bounds:
    """The values that an input may take, inclusive; arrays that broadcast to the input's shape."""

    low: Array
    high: Array
    whole: bool = True
    """Whether only whole numbers are meant, as ids are; an input of floats may have such, too."""


def inputs_of(session: ort.InferenceSession) -> list[Input]:
    """The inputs that a model must be fed. Raises UserError for a kind of input that cannot be made up."""
    found = []
    for arg in session.get_inputs():
        dtype = _DTYPES.get(arg.type.removeprefix("tensor(").removesuffix(")"))
        if dtype is None:
            raise UserError(
                f"input `{arg.name}` is a {arg.type}, and only tensors of numbers, booleans or strings can be drawn",
                "Export the model with tensors as inputs.",
            )
        dims = tuple(d if isinstance(d, int) else d or f"{arg.name}[{axis}]" for axis, d in enumerate(arg.shape))
        found.append(Input(arg.name, dtype, dims))
    return found


def batch_symbols(inputs: Iterable[Input], requests: Collection[str] = ()) -> set[str]:
    """The symbols that stand for the candidates.

    They are those of the leading axes (an exporter may name one batch differently for each input), less the
    `requests` and those that are an inner axis elsewhere. Without any, the candidates must be on an inner axis.
    """
    inputs = list(inputs)
    inner = {dim for each in inputs for dim in each.dims[1:] if isinstance(dim, str)}
    leading = {each.rows for each in inputs if each.rows is not None}
    return (leading - inner or leading or inner) - set(requests)


def extents(inputs: Iterable[Input], batch: int, requests: Collection[str] = ()) -> dict[str, int]:
    """The extent of every symbol for `batch` candidates."""
    inputs = list(inputs)
    symbols = {dim for each in inputs for dim in each.dims if isinstance(dim, str)}
    batches = batch_symbols(inputs, requests)
    return {s: batch if s in batches else REQUESTS if s in requests else LENGTH for s in symbols}


def draw(
    inputs: Sequence[Input],
    bounds: Mapping[str, Bounds],
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    *,
    style: Style = "drawn",
    chosen: Mapping[str, Array] = MappingProxyType({}),
    tiled: Collection[str] = (),
    largest_id: int | None = None,
    nonnegative: bool = False,
) -> dict[str, Array]:
    """Draw every input, with the axes' extents from `sizes`.

    Ids are uniform in their bounds ([0, 1] where those are unknown) and at most `largest_id`; the largest id is
    always among the rows of a column, and histories end in zeros. Floats are standard normal, or their magnitudes;
    those with bounds are uniform in them. The rows of a `tiled` input are identical.

    Of the other styles, "changed rows" takes the ids of some inputs from `chosen`, "largest ids" has no other ids,
    "padding" empties the histories, "zeros" is zero wherever it may be. "large" and "not finite" have a feature that is
    large, or NaN or infinite, in each row but the first; "large user" and "not finite user" one in a user's only row.
    """
    feeds = {}
    for each in inputs:
        shape = each.shape(sizes)
        rows = (min(1, shape[0]), *shape[1:]) if each.name in tiled and shape else shape
        own = bounds.get(each.name)
        if each.dtype.kind in "iu" or (own is not None and own.whole):
            drawn = _ids(rows, own, largest_id, rng, style)
            if style == "changed rows" and each.name in chosen:
                drawn = rng.choice(chosen[each.name], rows)
                drawn = drawn if own is None else np.clip(drawn, own.low, own.high)
        elif each.dtype.kind == "b":
            drawn = (rng.random(rows) < 0.5) & (style != "zeros")
        elif each.dtype.kind == "U":
            drawn = rng.integers(0, 10, rows).astype(np.str_).astype(object)
        else:
            drawn = _floats(rows, own, nonnegative, rng, style)
        drawn = drawn if each.dtype.kind == "U" else drawn.astype(each.dtype)
        feeds[each.name] = np.broadcast_to(drawn, shape).copy()
    if style in ("large", "not finite", "large user", "not finite user"):
        of_items, of_users = _features(inputs, bounds, tiled)
        _strew(feeds, of_users if style.endswith("user") else of_items, style, rng)
    return feeds


def by_key(
    feeds: Mapping[str, Array], tiled: Collection[str], keys: Collection[str], rng: np.random.Generator
) -> dict[str, Array]:
    """The same call with a few requests in it: rows of one key are alike in every tiled input, and shuffled.

    Keys are compared as a whole where there are several.
    """
    out = dict(feeds)
    batch = min(len(feeds[key]) for key in keys)
    chosen = rng.integers(0, max(1, min(REQUESTS, batch)), batch)
    for key in keys:
        out[key] = feeds[key][chosen]
    seen: dict[tuple[object, ...], int] = {}
    rows = [seen.setdefault(tuple(tuple(np.ravel(out[key][b])) for key in keys), b) for b in range(batch)]
    for name in {*tiled, *keys}:
        out[name] = (out if name in keys else feeds)[name][rows]
    return out


def edges(
    inputs: Iterable[Input], bounds: Mapping[str, Bounds], sizes: Mapping[str, int], tiled: Collection[str]
) -> list[Style]:
    """The edge cases that mean something to a model with these inputs."""
    inputs = list(inputs)
    of_items, of_users = _features(inputs, bounds, tiled)
    whole = [each for each in inputs if each.name in bounds and bounds[each.name].whole]
    sequences = any(_is_sequence(e.shape(sizes), bounds[e.name].low, bounds[e.name].high) for e in whole)
    found: list[tuple[Style, bool]] = [
        ("largest ids", bool(whole)),
        ("padding", sequences),
        ("zeros", True),
        ("large", bool(of_items)),
        ("large user", bool(of_users)),
        ("not finite", bool(of_items)),
        ("not finite user", bool(of_users)),
    ]
    return [style for style, meant in found if meant]


def _features(
    inputs: Iterable[Input], bounds: Mapping[str, Bounds], tiled: Collection[str]
) -> tuple[list[str], list[str]]:
    """The inputs of floats that are no ids, of several rows and of one."""
    features = [each for each in inputs if each.dtype.kind == "f" and each.dims and each.name not in bounds]
    of_users = [each.name for each in features if each.name in tiled or each.dims[0] == 1]
    return [each.name for each in features if each.name not in of_users], of_users


def _strew(feeds: dict[str, Array], features: list[str], style: Style, rng: np.random.Generator) -> None:
    """Make single elements of features large, or not finite, in place: one in a row, so that none hides another.

    Row 0 stays as it is. Elements take turns, and when all had one kind of value the next kind follows; where there
    are more elements than rows, chance decides which of them have a turn. A user has one row, and one such element.
    """
    of_user = style in ("large user", "not finite user")
    kinds = (np.nan, np.inf, -np.inf) if style in ("not finite", "not finite user") else (LARGE, -LARGE)
    width = {name: int(np.prod(feeds[name].shape[1:])) for name in features}
    elements = [(name, i) for name in features for i in range(width[name])]
    if not elements:
        return
    first = int(rng.integers(len(elements)))
    for turn in range(1 if of_user else max(len(feeds[name]) for name in features) - 1):
        name, i = elements[(first + turn) % len(elements)]
        rows = feeds[name].reshape(len(feeds[name]), width[name])
        if of_user:
            at: slice | int = slice(None)
        elif len(rows) > 1:
            at = 1 + turn % (len(rows) - 1)
        else:
            continue
        kind = kinds[turn // len(elements) % len(kinds)] if not of_user else rng.choice(kinds)
        half = rows.dtype.itemsize <= _HALF and np.isfinite(kind)
        rows[at, i] = np.sign(kind) * LARGE_HALF if half else kind


def _floats(
    shape: tuple[int, ...], bounds: Bounds | None, nonnegative: bool, rng: np.random.Generator, style: Style
) -> Array:
    if bounds is not None:
        zero = np.broadcast_to(np.clip(0, bounds.low, bounds.high), shape)
        return zero if style == "zeros" else rng.uniform(bounds.low, bounds.high, shape)
    drawn = rng.standard_normal(shape)
    if style == "zeros":
        return np.zeros(shape)
    return np.abs(drawn) if nonnegative else drawn


def _ids(
    shape: tuple[int, ...], bounds: Bounds | None, largest: int | None, rng: np.random.Generator, style: Style
) -> Array:
    low = np.broadcast_to(0 if bounds is None else bounds.low, shape)
    high = np.broadcast_to(1 if bounds is None else bounds.high, shape)
    if largest is not None:
        high = np.maximum(low, np.minimum(high, largest))
    ids: Array = rng.integers(low, high, endpoint=True)
    if not ids.size or not shape:
        return ids
    if shape[0] > 1:
        ids[rng.integers(shape[0])] = high[0]
    if style == "largest ids":
        ids[:] = high
    elif style == "zeros":
        ids[:] = np.clip(0, low, high)
    elif _is_sequence(shape, low, high):
        ends = rng.integers(shape[-1] // 2, shape[-1], (*shape[:-1], 1))
        ids[np.arange(shape[-1]) >= (np.zeros_like(ends) if style == "padding" else ends)] = 0
    return ids


def _is_sequence(shape: tuple[int, ...], low: Array, high: Array) -> bool:
    """Whether it is a history: padded with id 0 at its end, each row from a place of its own."""
    alike = low.max(initial=0) == 0 and high.min(initial=high.max(initial=0)) == high.max(initial=0)
    return bool(alike) and len(shape) > 1 and shape[-1] >= _MIN_SEQUENCE
