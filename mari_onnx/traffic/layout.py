"""How the rows of the logs become the inputs of the model: which column each is, and how its rows are repeated.

flat      a row for each candidate: the user's columns are repeated, or the model takes one of their rows
nested    a row for each request: the candidates' columns are lists, of a value or a list for each candidate
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mari_onnx import worker
from mari_onnx.document.document import Document
from mari_onnx.errors import UserError
from mari_onnx.report.model import RequestInput
from mari_onnx.traffic.cells import Array, Cells, Where, cells, check_type, depth, fitted, joined, padded, unlisted
from mari_onnx.traffic.columns import Column, ColumnMap
from mari_onnx.traffic.files import Batch, File, Place, column_missing
from mari_onnx.verification.inputs.draw import Input, inputs_of
from mari_onnx.verification.runtimes.onnxruntime import Source

CANDIDATES, LISTS = "candidates", "lists"


@dataclass(frozen=True)
class Fed:
    """An input: how it is read, and what its leading axis holds: `rows`, as in `RequestInput`, "candidates" or "lists".

    "lists" are those of a listwise model, `item` [R, N, 16]: a row for each request, with N candidates of 16 values.
    `nested` says whether a value of the column is a list of candidates.
    """

    input: Input
    how: Column
    rows: str
    nested: bool = False

    @property
    def inner(self) -> tuple[int | str, ...]:
        """The extents of what belongs to one row of the logs, or to one candidate of a list of them."""
        return self.input.dims[{"shared": 0, LISTS: 2}.get(self.rows, 1) :]

    @property
    def is_requests(self) -> bool:
        """Whether all rows of a request are to be identical."""
        return self.rows not in (CANDIDATES, LISTS)

    @property
    def depths(self) -> set[int]:
        """How many lists a column may have for that, without one of candidates; extents of 1 need none."""
        inner, least = self.inner, len(self.inner)
        while least and inner[least - 1] == 1:
            least -= 1
        return set(range(least, len(inner) + 1)) if least == 0 else {len(inner)}


@dataclass(frozen=True)
class Layout:
    """The inputs of a model, as the logs have them; `nested` says that a row is a request (see above)."""

    inputs: tuple[Fed, ...]
    nested: bool

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys(each.how.column for each in self.inputs if each.how.value is None))

    def read(self, batch: Batch, place: Place, row: int) -> dict[str, Cells]:
        """The values of a batch by input. Raises UserError where they do not fit.

        With nested candidates there is a row for each of them; `counts` has how many each row of the logs has.
        """
        found, counts, of = dict[str, Cells](), None, ""
        for each in self.inputs:
            if each.how.value is not None:
                continue
            where, array = Where(place, each.how.column, row), batch[each.how.column]
            if each.nested:
                array, own = unlisted(array, each.how, where)
                if counts is not None and (other := np.flatnonzero(own != counts)).size:
                    i = int(other[0])
                    step = "Give each candidate one value in each of the candidates' columns."
                    raise where.wrong(i, f"{own[i]} candidates, and {counts[i]} in column `{of}`", step)
                counts, of, where = own, each.how.column, replace(where, listed=True)
            found[each.input.name] = cells(array, each.input, each.inner, each.how, where)
        if counts is not None:
            for each in self.inputs:
                if not each.nested and each.how.value is None:
                    found[each.input.name] = found[each.input.name].repeated(counts)
            found[COUNTS] = Cells(counts)
        return found

    def feeds(self, pieces: Sequence[Mapping[str, Cells]], place: object, row: int) -> tuple[dict[str, Array], int]:
        """The inputs of one request, with a row for each candidate in all of them, and the number of candidates.

        `place` is where its rows stand, in words, and `row` the number of its first row there.

        Inputs of which the model takes one row have all of them, too; see `one_row`. Raises UserError where lists have
        several lengths, and no padding is given.
        """
        found = {}
        for each in self.inputs:
            name, how = each.input.name, each.how
            if how.value is None:
                own = joined([piece[name] for piece in pieces])
                if own.lengths is None:
                    found[name] = own.values
                else:
                    found[name] = padded(own, int(own.lengths.max(initial=0)), how, Where(place, how.column, row))
        candidates = max((len(values) for values in found.values()), default=0)
        for each in self.inputs:
            if each.how.value is not None:
                found[each.input.name] = _constant(each, candidates)
        return found, candidates

    def one_row(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs as the model takes them: the first row of those that it takes once for a request, and all
        candidates as the one row of a listwise input.
        """
        first = slice(0, 1)
        kept: dict[str, slice | int | None] = {"one": first, "requests": first, "shared": 0, LISTS: None}
        chosen = {each.input.name: kept.get(each.rows, slice(None)) for each in self.inputs}
        return {name: np.asarray(feeds[name][rows]) for name, rows in chosen.items()}  # one number is no array


COUNTS = "candidates of a row"
"""The entry of `Layout.read` with the numbers of candidates; no input of a model may be named so."""


def _constant(each: Fed, rows: int) -> Array:
    shape = (rows, *(dim if isinstance(dim, int) else 1 for dim in each.inner))
    if each.input.dtype.kind == "U":
        return np.full(shape, str(each.how.value), object)

    def wrong(_at: int, value: object) -> UserError:
        return UserError(
            f"the value {value!r} of input `{each.input.name}` is no {each.input.dtype}", "Change the map."
        )

    return np.broadcast_to(fitted(np.asarray(each.how.value), each.input, wrong), shape).copy()


def inputs_of_model(document: Document) -> list[Input]:
    """The inputs of a model, found in a child, where onnxruntime loads it. Raises UserError where it cannot."""
    try:
        return worker.run(_inputs, document)
    except worker.StoppedError as stopped:
        raise UserError(str(stopped), stopped.next_step) from stopped


def _inputs(document: Document) -> list[Input]:
    return inputs_of(Source("reference", document).session())


def layout(
    inputs: Sequence[Input],
    roles: Sequence[RequestInput],
    given: ColumnMap,
    files: Sequence[File],
    listed: Collection[str] = (),
) -> Layout:
    """How these files hold the inputs, of which those `listed` have a second axis that counts candidates.

    Raises UserError for a column that is missing or that cannot be an input, in any
    of the files, and for a map that names an input which does not exist.
    """
    names = [each.name for each in inputs]
    for name in given:
        if name not in names:
            raise UserError(
                f"the column map names input `{name}`, which the model does not have",
                f"Its inputs are: {', '.join(names)}.",
            )
    rows = {**dict.fromkeys(listed, LISTS), **{each.name: each.rows for each in roles}}
    fed = [
        Fed(each, given.get(each.name, Column(each.name)), rows.get(each.name, CANDIDATES if each.dims else "shared"))
        for each in inputs
    ]
    found = [_of_file(fed, file) for file in files]
    for file, other in zip(files, found, strict=True):
        for ours, theirs in zip(found[0].inputs, other.inputs, strict=True):
            if ours.nested != theirs.nested:
                kinds = [f"{each.types[ours.how.column]} in {each.path}" for each in (files[0], file)]
                raise UserError(
                    f"column `{ours.how.column}` holds {kinds[0]} and {kinds[1]}",
                    "Replay the files of each schema by themselves.",
                )
    return found[0]


def _of_file(fed: Sequence[Fed], file: File) -> Layout:
    kinds = file.types
    for each in fed:
        if each.how.value is None:
            if each.how.column not in kinds:
                what = f" for input `{each.input.name}`"
                step = "Name the column of an input in a column map: --columns map.toml."
                raise column_missing(file.path, each.how.column, list(kinds), what, step)
            check_type(kinds[each.how.column], each.input, each.how.column, file.path)
    read = [each for each in fed if each.how.value is None]
    lists = {each.input.name: depth(kinds[each.how.column]) for each in read}
    nested = any(not each.is_requests and lists[each.input.name] > max(each.depths) for each in read)
    out = []
    for each in fed:
        if each.how.value is not None:
            out.append(each)
            continue
        own = lists[each.input.name]
        flat = own in each.depths and not (nested and not each.is_requests and own - 1 in each.depths)
        if not flat and not (nested and own - 1 in each.depths):
            takes = " or ".join(map(str, sorted(each.depths)))
            raise UserError(
                f"column `{each.how.column}` of {file.path} holds {kinds[each.how.column]}, and a row of input "
                f"`{each.input.name}` is {takes} list{'s' * (takes != '1')} deep",
                "Give each row one value, or a list of the extents that the model takes.",
            )
        out.append(Fed(each.input, each.how, each.rows, nested=not flat))
    return Layout(tuple(out), nested)
