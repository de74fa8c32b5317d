"""The values of one column, as arrays of an input.

Values that do not fit are refused, with the file, the row group, the column and the row, and never changed silently:
only what the column map says is filled in, padded or cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mari_onnx.errors import UserError
from mari_onnx.traffic.arrow import pa, types
from mari_onnx.traffic.columns import Column
from mari_onnx.verification.inputs.draw import Input

Array = npt.NDArray[Any]


def depth(kind: Any) -> int:
    """How many lists stand in each other in a type: 0 for a number, 1 for a list of numbers."""
    return 1 + depth(kind.value_type) if _is_list(kind) else 0


def _is_list(kind: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def innermost(kind: Any) -> Any:
    """The type of the values within all lists and dictionaries."""
    while _is_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    return kind


def is_text(kind: Any) -> bool:
    """Whether values are strings."""
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def check_type(kind: Any, each: Input, column: str, path: str) -> None:
    """Raise UserError where no value of the type can be one of the input."""
    inner = innermost(kind)
    numeric = types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)
    if numeric if each.dtype.kind != "U" else is_text(inner):
        return
    if types.is_decimal(inner) or types.is_temporal(inner):
        step = "Write it as the number that the model was trained on, such as a float or seconds."
    else:
        step = f"The model takes {each.dtype if each.dtype.kind != 'U' else 'strings'}."
    raise UserError(f"column `{column}` of {path} holds {kind}, which input `{each.name}` does not take", step)


@dataclass(frozen=True)
class Cells:
    """The values of some rows.

    Where all rows are alike, `lengths` is None and `values` is [rows, ...]. Else row i is a list of `lengths[i]`
    values, and `values`, [sum of lengths, ...], has those of all rows one after the other.
    """

    values: Array
    lengths: Array | None = None

    def __len__(self) -> int:
        return len(self.values if self.lengths is None else self.lengths)

    @property
    def offsets(self) -> Array:
        """Where the values of each row begin, and in the end where the last one's end; of rows that are not alike."""
        assert self.lengths is not None
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def rows(self, start: int, stop: int) -> Cells:
        """Some of the rows."""
        if self.lengths is None:
            return Cells(self.values[start:stop])
        before, within = int(self.lengths[:start].sum()), self.lengths[start:stop]
        return Cells(self.values[before : before + int(within.sum())], within)

    def repeated(self, counts: Array) -> Cells:
        """Each row as often as `counts` says."""
        which = np.repeat(np.arange(len(self)), counts)
        if self.lengths is None:
            return Cells(self.values[which])
        offsets, lengths = self.offsets, self.lengths[which]
        starts = np.repeat(offsets[which] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        return Cells(self.values[starts + np.arange(int(lengths.sum()))], lengths)

    def _ragged(self) -> Cells:
        if self.lengths is not None or self.values.ndim < 2:
            return self
        rows, length = self.values.shape[:2]
        return Cells(self.values.reshape(rows * length, *self.values.shape[2:]), np.full(rows, length))


def joined(pieces: Sequence[Cells]) -> Cells:
    """The rows of several, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    if all(each.lengths is None and each.values.shape[1:] == pieces[0].values.shape[1:] for each in pieces):
        return Cells(np.concatenate([each.values for each in pieces]))
    ragged = [each._ragged() for each in pieces]
    return Cells(
        np.concatenate([each.values for each in ragged]),
        np.concatenate([each.lengths for each in ragged if each.lengths is not None]),
    )


@dataclass(frozen=True)
class Where:
    """Where values stand, for messages: the row group and the column; `row` is the number of the first row there.

    `listed` says that the values are candidates, of which each row has a list.
    """

    place: object
    column: str
    row: int
    listed: bool = False

    def wrong(self, row: int, what: str, step: str) -> UserError:
        """The error for one of the values."""
        where = f"row {self.row + row + 1}"
        if self.listed:
            where = f"candidate {row + 1} from row {self.row + 1} on"
        return UserError(f"{self.place}, column `{self.column}`, {where}: {what}", step)


def cells(array: Any, each: Input, inner: Sequence[int | str], how: Column, where: Where) -> Cells:
    """The values of a column as those of an input, whose rows have the extents `inner`.

    Raises UserError where they do not fit.
    """
    lists = depth(array.type)
    if not lists:
        flat = _leaves(array, each, how, where, None)
        return Cells(flat.reshape(len(flat), *(1 for _ in inner)))
    array, lengths = _opened(array, how, where)
    if lists == 1:
        values = _leaves(array, each, how, where, lengths)
    else:
        within = cells(array, each, inner[1:], how, where)
        if within.lengths is not None:
            raise where.wrong(0, "lists within lists have several lengths", "Pad the inner ones to one length.")
        values = within.values
    alike = len(lengths) == 0 or bool((lengths == lengths[0]).all())
    fixed = inner[0] if inner and isinstance(inner[0], int) else how.length
    if alike and (fixed is None or len(lengths) == 0 or lengths[0] == fixed):
        length = int(lengths[0]) if len(lengths) else fixed or 0
        return Cells(values.reshape(len(lengths), length, *values.shape[1:]))
    ragged = Cells(values, lengths)
    return ragged if fixed is None else Cells(padded(ragged, fixed, how, where))


def unlisted(array: Any, how: Column, where: Where) -> tuple[Any, Array]:
    """The candidates of lists of them, one after the other, and how many each list has."""
    return _opened(array, how, where)


def _opened(array: Any, how: Column, where: Where) -> tuple[Any, Array]:
    """The values in lists, one after the other, and the length of each list; a null is an empty one if that may be."""
    if array.null_count and how.null is None:
        raise where.wrong(*_null(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)), where.column))
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return array.flatten(), lengths


def _null(nulls: Array, column: str) -> tuple[int, str, str]:
    return int(nulls[0]), "the value is missing", f"Say what it stands for in the column map: null = 0 for `{column}`."


def _leaves(array: Any, each: Input, how: Column, where: Where, lengths: Array | None) -> Array:
    """The innermost values, converted to the input's type; `lengths` are those of the lists that they are in."""
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()

    def row(value: int) -> int:
        return value if lengths is None else int(np.searchsorted(np.cumsum(lengths), value, side="right"))

    if array.null_count:
        nulls = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))
        if how.null is None:
            raise where.wrong(*_null(np.array([row(int(nulls[0]))]), where.column))
        try:
            array = array.fill_null(pa.scalar(how.null, array.type))
        except pa.ArrowInvalid as error:
            raise where.wrong(row(int(nulls[0])), f"{how.null!r} is no {array.type}", "Change null.") from error
    given: Array = array.to_numpy(zero_copy_only=False)
    if each.dtype.kind == "U":
        return given.astype(object)

    def wrong(at: int, value: object) -> UserError:
        what = f"{value!r} is no {each.dtype}, which input `{each.name}` takes"
        return where.wrong(row(at), what, "Give values that fit the model's type.")

    return fitted(given, each, wrong)


def fitted(given: Array, each: Input, wrong: Callable[[int, object], UserError]) -> Array:
    """Numbers in the input's type; `wrong` makes the error for one that is another number there."""
    if given.dtype == each.dtype:
        return given
    with np.errstate(invalid="ignore", over="ignore"):
        found: Array = given.astype(each.dtype)
    if each.dtype.kind in "iub" and not np.can_cast(given.dtype, each.dtype, "safe"):
        # A number beyond the type's range may come back as itself: the cast to a larger one tells.
        other = np.flatnonzero((found != given) | ((found < 0) != (given < 0)))
        if other.size:
            raise wrong(int(other[0]), given.ravel()[other[0]].item())
    return found


def padded(ragged: Cells, length: int, how: Column, where: Where) -> Array:
    """The rows as one array [rows, length, ...]. Raises UserError where that takes padding or cutting unasked."""
    assert ragged.lengths is not None
    lengths = ragged.lengths
    longer, shorter = np.flatnonzero(lengths > length), np.flatnonzero(lengths < length)
    if longer.size and how.keep is None:
        raise where.wrong(
            int(longer[0]), f"a list of {lengths[longer[0]]} values, and the model takes {length}",
            'Say in the column map which are kept: keep = "last".',
        )  # fmt: skip
    if shorter.size and how.pad is None:
        raise where.wrong(
            int(shorter[0]), f"a list of {lengths[shorter[0]]} values beside one of {length}",
            "Say in the column map what fills it up: pad = 0.",
        )  # fmt: skip
    kept = np.minimum(lengths, length)
    fill = 0 if how.pad is None else how.pad
    out = np.full((len(lengths), length, *ragged.values.shape[1:]), fill, ragged.values.dtype)
    place = np.arange(length)
    to = place >= (length - kept)[:, None] if how.side == "start" else place < kept[:, None]
    if longer.size:
        index = np.arange(int(lengths.sum())) - np.repeat(ragged.offsets[:-1], lengths)
        first = np.repeat(lengths - kept if how.keep == "last" else np.zeros_like(kept), lengths)
        chosen = (index >= first) & (index < first + np.repeat(kept, lengths))
        out[to] = ragged.values[chosen]
    else:
        out[to] = ragged.values
    return out
