"""Drawing of inputs that show differences: distinct candidates, and ids from the whole of the tables they index."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import onnxruntime as ort

from mari_onnx.errors import UserError
from mari_onnx.verification.inputs.cases import Style
from mari_onnx.verification.runtimes.onnxruntime import Array

REQUESTS = 3
"""The number of requests in a call of a model that takes several."""

LENGTH = 5
"""The extent of a dynamic axis that counts neither candidates nor requests, such as the length of a history."""

APART = " of "
"""Stands in the symbol `N of history[1]` of an axis that need not be equal to others named `N`."""

LENGTHS_APART = (4, 6, 9)
"""The extents of such inner axes, in turn: they differ from `LENGTH`, and mostly from the number of candidates."""

MORE_ROWS = 3
"""By so many such a leading axis is longer than there are candidates."""

LARGE, LARGE_HALF = 1000.0, 30.0
"""The magnitude of a large feature; the second is that of half precision, whose range sums of it must not leave."""

FAR, FAR_HALF = 2.0**20, 2.0**6
"""What is added to all features in the case "far"; the second in half precision. Beside it they have 4 binary places.

Where a model takes a mean of that size from a feature, the difference is exact, and so are the digits that follow.
"""

MOST_BYTES = 1 << 47
"""The addresses that a process has. numpy refuses a larger array by another error than one that the memory lacks."""

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
    """A graph input. `dims` are extents or symbols; an axis that the model leaves unnamed has a symbol of its own.

    `listed` is the symbol `N` of a listwise model, with scores [R, N] for N candidates of each of R requests, or the
    number of them where it is fixed. All inputs of such a model have it, also those without the axis.
    """

    name: str
    dtype: np.dtype[np.generic]
    dims: tuple[int | str, ...]
    listed: str | int | None = None

    def shape(self, extents: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where the symbols have these extents."""
        return tuple(dim if isinstance(dim, int) else extents[dim] for dim in self.dims)

    @property
    def rows(self) -> str | None:
        """The symbol of the leading axis; None where the axis has a fixed extent or does not exist."""
        return self.dims[0] if self.dims and isinstance(self.dims[0], str) else None


@dataclass(frozen=True)
class Bounds:
    """The least and the largest value that an input may take, as arrays that broadcast to the input's shape."""

    low: Array
    high: Array
    whole: bool = True
    """Whether the values are whole numbers, as ids are. An input of floats may hold ids, too."""


def inputs_of(session: ort.InferenceSession) -> list[Input]:
    """The inputs of a model. Raises UserError for an input whose type cannot be drawn, such as a sequence."""
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
    listed = _listed(found, [output.shape for output in session.get_outputs()])
    return [replace(each, listed=listed) for each in found]


def _listed(inputs: Sequence[Input], outputs: Sequence[Sequence[int | str | None]]) -> str | int | None:
    """The number of candidates of each request, or its symbol: the second extent of all outputs, and not of all inputs.

    Of user [R, 64], item [R, N, 16] and scores [R, N] it is N, and 50 of item [R, 50, 16] and scores [R, 50].
    """
    counted = {shape[1] if len(shape) > 1 else None for shape in outputs}
    (extent,) = counted if len(counted) == 1 else (None,)
    if extent is None:
        return None
    second = {each.name: each.dims[1] for each in inputs if len(each.dims) > 1}
    items = [each for each in inputs if second.get(each.name) == extent]
    if isinstance(extent, int):  # features may be as many: those of `item` [B, 8], with scores [B, 8]
        items = [each for each in items if each.rows is not None and len(each.dims) > 2]
    leading = {each.dims[0] for each in items}
    others = {each.dims[0] for each in inputs if each.dims and second.get(each.name) != extent}
    return extent if extent not in leading and leading & others else None


def listed_rows(inputs: Iterable[Input]) -> frozenset[str]:
    """The symbols of leading axes that count requests, because the candidates of each have an axis of their own.

    That axis may lead as well: that of `prior` [N] beside `item` [R, N, 16].
    """
    listed = [each for each in inputs if each.listed is not None]
    return frozenset(each.rows for each in listed if each.rows is not None and each.rows != each.listed)


def own_batch(inputs: Iterable[Input]) -> int | None:
    """The number of candidates that a model without any dynamic axis takes; None for a model with one."""
    inputs = list(inputs)
    if any(isinstance(dim, str) for each in inputs for dim in each.dims):
        return None
    for each in inputs:
        if isinstance(each.listed, int):
            return each.listed
    return max((each.dims[0] for each in inputs if each.dims and isinstance(each.dims[0], int)), default=1)


def batch_symbols(inputs: Iterable[Input], requests: Collection[str] = ()) -> set[str]:
    """The symbols of the axes that count candidates.

    They are the symbols of leading axes, of which there may be several, because an exporter may name the batch of each
    input differently. Those in `requests`, those that are also the symbol of an inner axis, and those of axes that are
    drawn apart, are left out. Where no input has a dynamic leading axis, the inner ones count candidates. In a listwise
    model one symbol does.
    """
    inputs = list(inputs)
    if listed := {each.listed for each in inputs if isinstance(each.listed, str)}:
        return listed
    inner = {dim for each in inputs for dim in each.dims[1:] if isinstance(dim, str)}
    leading = {each.rows for each in inputs if each.rows is not None}
    return {s for s in leading - inner or leading or inner if APART not in s} - set(requests)


def extents(inputs: Iterable[Input], batch: int, requests: Collection[str] = ()) -> dict[str, int]:
    """The extent of every symbol in a call of `batch` candidates; `requests` are the symbols that count requests."""
    inputs = list(inputs)
    symbols = {dim for each in inputs for dim in each.dims if isinstance(dim, str)}
    batches = batch_symbols(inputs, requests)
    apart = sorted(s for s in symbols if APART in s)
    rows = {each.rows for each in inputs}
    own = {s: batch + MORE_ROWS if s in rows else LENGTHS_APART[i % len(LENGTHS_APART)] for i, s in enumerate(apart)}
    return {s: batch if s in batches else REQUESTS if s in requests else LENGTH for s in symbols} | own


def draw(
    inputs: Sequence[Input],
    bounds: Mapping[str, Bounds],
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    *,
    style: Style = "drawn",
    chosen: Mapping[str, Array] = MappingProxyType({}),
    centres: Mapping[str, Array] = MappingProxyType({}),
    tiled: Collection[str] = (),
    largest_id: int | None = None,
    nonnegative: bool = False,
) -> dict[str, Array]:
    """Draw every input; `sizes` are the extents of the symbols.

    Ids are uniform in their bounds, which are [0, 1] where unknown, and at most `largest_id`. Each column has its
    largest id in some row, and histories end in zeros. Floats are uniform in their bounds; without bounds they are
    standard normal, or with `nonnegative` the magnitudes of such. The rows of a `tiled` input are identical.

    The other styles differ in this:

    changed rows       the ids of the inputs in `chosen` are drawn from the ids there
    largest ids        all ids are the largest
    padding            all histories are empty
    zeros              everything is zero, or as near to it as the bounds allow
    large              in each row but the first, one feature is very large
    not finite         in each row but the first, one feature is NaN or infinite
    large user,        the same for one feature in the only row of a user
    not finite user
    far                all features have one large number added, so that their differences are small beside them
    centred            features are near what the model takes from them, which is in `centres` (see there)

    Raises UserError for an input that no memory holds.
    """
    feeds = {}
    for each in inputs:
        shape = each.shape(sizes)
        if math.prod(shape) * each.dtype.itemsize > MOST_BYTES:
            raise UserError(
                f"input `{each.name}` of shape {list(shape)} is larger than any memory",
                "Export the model with the extents that a caller sends.",
            )
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
    of_items, of_users = _features(inputs, bounds, tiled)
    if style == "far":
        for name in (*of_items, *of_users):
            feeds[name] += feeds[name].dtype.type(FAR_HALF if feeds[name].dtype.itemsize <= _HALF else FAR)
    if style == "centred":
        for name, centre in centres.items():
            feeds[name] += centre.astype(feeds[name].dtype)
    if style in ("large", "not finite", "large user", "not finite user"):
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
    """The styles of edge cases that can occur with these inputs, such as "padding" only where there are histories."""
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
        ("far", bool(of_items or of_users)),
    ]
    return [style for style, meant in found if meant]


def features_of(inputs: Iterable[Input], bounds: Mapping[str, Bounds]) -> list[Input]:
    """The float inputs that hold features and not ids."""
    return [each for each in inputs if each.dtype.kind == "f" and each.dims and each.name not in bounds]


def _features(
    inputs: Iterable[Input], bounds: Mapping[str, Bounds], tiled: Collection[str]
) -> tuple[list[str], list[str]]:
    """The names of the float inputs that hold features and not ids: those of the candidates, and those of users."""
    features = features_of(inputs, bounds)
    of_users = [each.name for each in features if each.name in tiled or each.dims[0] == 1]
    return [each.name for each in features if each.name not in of_users], of_users


def _strew(feeds: dict[str, Array], features: list[str], style: Style, rng: np.random.Generator) -> None:
    """Make one element of features large, or not finite, in each row but the first, in place.

    One element a row, so that no NaN hides another. The elements take turns, from a random one on; when each has had
    one kind of value, such as NaN, the next kind follows. A user has one row, and one such element.
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
    """Whether an input of ids is a history, which is padded with id 0 at its end.

    It has one range for all columns, from 0 on, and a last axis of at least `_MIN_SEQUENCE`.
    """
    alike = low.max(initial=0) == 0 and high.min(initial=high.max(initial=0)) == high.max(initial=0)
    return bool(alike) and len(shape) > 1 and shape[-1] >= _MIN_SEQUENCE
