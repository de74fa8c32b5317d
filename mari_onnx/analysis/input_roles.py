"""Which inputs belong to the request, and why.

    one row          leading extent 1, beside inputs whose leading extent is dynamic: `user` [1, 4], `item` [B, 3]
    tiled            declared, and the leading axis counts candidates: `user` [B, 4], whose row the caller repeats
    selected         an integer input selects a row for each candidate: `user` [R, 4], `req_index` [B]
    of another axis  declared, and the leading axis is named otherwise than the candidates': `user` [R, 4]
    shared           declared, without an axis of candidates: `hour` [1] or a scalar
    of a list        without the axis that counts the candidates of each request: `user` [R, 4], `item` [R, N, 3]

"Declared" means that a glob of `-u` matches the input's name. What the written model takes instead of tiled rows
depends on the serving mode; see `mari_onnx.serving.mode`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

import onnx

from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.listwise import Lists, lists_of
from mari_onnx.analysis.premises import NOTHING
from mari_onnx.analysis.shared_symbols import leading_names, settle_symbols
from mari_onnx.document.graph_view import Model, is_named, shape_of
from mari_onnx.errors import UserError
from mari_onnx.input_names import nearest
from mari_onnx.ir.cost import CostModel
from mari_onnx.report.model import RequestInput
from mari_onnx.serving.mode import Mode, SentOnce
from mari_onnx.serving.names import ONE, REQUESTS, SHARED
from mari_onnx.serving.tiled import AS_EXPORTED


@dataclass(frozen=True)
class InputRoles:
    """The request's inputs, the names of those that the caller tiles, and the symbols that count candidates.

    In a listwise model the candidates of each request have an axis of their own: that of `lists`. Where a caller calls
    some input tiled all the same, `candidates` count the rows of that input.
    """

    inputs: tuple[RequestInput, ...]
    tiled: tuple[str, ...]
    candidates: tuple[str, ...]
    mode: Mode = AS_EXPORTED
    lists: Lists | None = None

    @property
    def listwise(self) -> bool:
        """Whether `candidates` is the axis of `lists`."""
        return self.lists is not None and self.lists.everywhere and not self.tiled

    @property
    def names(self) -> frozenset[str]:
        return frozenset(i.name for i in self.inputs)

    @property
    def keeps_first_row(self) -> bool:
        """Whether the first of the rows that a caller sends stands for all of a call."""
        return bool(self.tiled) and not isinstance(self.mode, SentOnce) and not self.mode.options.request_key

    @property
    def length_of_lists(self) -> int | None:
        """The number of candidates of each request, where lists have one length."""
        return (
            self.lists.candidates if self.lists and self.listwise and isinstance(self.lists.candidates, int) else None
        )

    @property
    def listed(self) -> frozenset[str]:
        """The inputs of a listwise model whose second axis counts candidates, such as `item` [R, N, 16].

        Those of `items` whose leading axis does, `item` [N, 16], are the candidates of the one request of a call.
        """
        if self.lists is None or not self.listwise:
            return frozenset()
        return self.lists.items - self.lists.leading

    @property
    def of_requests(self) -> tuple[str, ...]:
        """The inputs that have a row for each of several requests in the written model."""
        return tuple(i.name for i in self.inputs if i.rows == REQUESTS)


def declared_inputs(model: Model, globs: Sequence[str], whose: str = "user") -> dict[str, str]:
    """The inputs that the globs name, and the glob that named each.

    A glob that is the name of an input means that input alone, whatever it would match: `features[user_id]`.

    Raises UserError for a glob that matches nothing.
    """
    names = [i.name for i in model.inputs]
    found: dict[str, str] = {}
    for glob in globs:
        matched = [glob] if glob in names else [n for n in names if fnmatch.fnmatchcase(n, glob)]
        if not matched:
            meant = nearest(glob, names)
            raise UserError(
                f"no input of the model matches the {whose} input {glob!r}",
                f"{f'did you mean {meant!r}? ' if meant else ''}its inputs are: {', '.join(names)}",
            )
        for name in matched:
            found.setdefault(name, glob)
    return found


def roles_of(model: Model, globs: Sequence[str], batch: int, mode: Mode = AS_EXPORTED) -> InputRoles:
    """Decide for every input whether it belongs to the request. Inputs that the globs match do.

    If the inputs have several leading symbols, the graph is interpreted once, to find which of them are equal; and so
    it is if the second axis of some inputs may count the candidates of each request.

    Raises UserError for a glob that matches nothing and for a mode that the model does not allow.
    """
    declared = mode.declared({name: f"declared by {glob!r}" for name, glob in declared_inputs(model, globs).items()})
    mode.check(model)
    settle_symbols(model, batch)
    program = cache(lambda: interpret(model, NOTHING, CostModel(batch)))
    lists, evidence = lists_of(model, program), _Evidence(declared, _leading_axes(model, program))
    roles = {info.name: role for info in model.inputs if (role := _role(info, evidence)) is not None}
    tiled = tuple(name for name, role in roles.items() if role is _Role.TILED)
    if lists is not None and lists.everywhere and lists.of_requests and not tiled:
        return _of_lists(model, lists, declared, mode)
    inputs = tuple(
        mode.role(name, declared[name]) if role is _Role.TILED else _reported(name, role, evidence)
        for name, role in roles.items()
    )
    stated = evidence.axes.stated
    candidates = {symbol for name, symbol in stated.items() if name not in roles} or {stated[name] for name in tiled}
    mode.check_tiled(model, tiled, inputs)
    return InputRoles(inputs, tiled, tuple(sorted(candidates)), mode, lists)


def _of_lists(model: Model, lists: Lists, declared: Mapping[str, str], mode: Mode) -> InputRoles:
    """The roles in a listwise model: an input without the candidates' axis is the request's."""
    found = f"found: it has no axis {lists.axis}, which counts the candidates of each request"
    leading, inputs = model.leading_symbols, []
    for info in model.inputs:
        if info.name in leading and info.name not in lists.items:
            inputs.append(RequestInput(info.name, REQUESTS, found))
        elif info.name not in lists.items and shape_of(info):
            inputs.append(RequestInput(info.name, ONE, declared.get(info.name, found)))
        elif info.name in declared:
            inputs.append(RequestInput(info.name, SHARED, f"{declared[info.name]}: it has no axis of candidates"))
    mode.check_tiled(model, (), inputs)
    return InputRoles(tuple(inputs), (), lists.symbols, mode, lists)


def check_candidates(model: Model, given: InputRoles) -> None:
    """Raise UserError where no input is left that differs between the candidates of a request.

    With `user` [B, 4] and `item` [B, 3] both declared, the first row of each would stand for all, and every candidate
    would get one score. An index of requests differs between them, but not between the candidates of one.
    """
    declared = given.names | {given.mode.options.request_index}
    counted = set(given.candidates)
    if not given.tiled or any(_may_differ(model, i, counted) for i in model.inputs if i.name not in declared):
        return
    shown = ", ".join(f"`{name}`" for name in given.tiled[:SHOWN])
    more = f" and {len(given.tiled) - SHOWN} more" if len(given.tiled) > SHOWN else ""
    raise UserError(
        f"all inputs that have the candidates' axis are declared the user's: {shown}{more}; no input is left that "
        "differs between candidates, and every candidate would get the same score",
        "declare the user's inputs alone: -u 'user_*'; a tower of the user alone: `optimize --allow-no-candidates`",
    )


def check_rows(given: InputRoles) -> None:
    """Raise UserError where an input that is called tiled has a row for each request, and not for each candidate.

    Of `user` [R, 64] beside `item` [R, N, 16], with scores [R, N], the first row would stand for all requests. No
    comparison shows that where rows are drawn alike, as those of a tiled input are.
    """
    lists = given.lists
    if lists is None or not lists.is_sure or not given.keeps_first_row or lists.items <= given.names:
        return
    raise UserError(
        f"`{given.tiled[0]}` has a row for each request: the scores have an axis {lists.axis}, which counts the "
        "candidates of one, so that no row is repeated for them",
        "leave it out of -u; or export the model for the candidates of one request, with them on the first axis; or, "
        "where each row is a candidate all the same, send the user's once: --user-batch one",
    )


def doubted_rows(model: Model, given: InputRoles) -> str | None:
    """What to look at where an input that is called tiled may have a row for each request; None if nothing hints at it.

    Of `user` [R, 64] and `item` [R, N, 16], with outputs [R, N] and [R, 3], either R counts requests, or N the words of
    a candidate's title, whose weights are an output. The graph of both is the same. So it is with one output [R, 4] and
    `item` [R, 4, 16], whose 4 may count heads or tasks.
    """
    lists = given.lists
    if lists is None or lists.is_sure or not given.keeps_first_row:
        return None
    others = model.leading_symbols.keys() - given.names
    if not others or not others <= lists.items:
        return None
    user, item = given.tiled[0], min(lists.items)
    return (
        f"`{user}` has as many rows as `{item}`. If the axis {lists.axis} of `{item}` counts the candidates of a "
        f"request, these are rows of several requests: leave `{user}` out of -u then. The first row would stand for "
        "all, and no comparison shows that, since rows of tiled inputs are drawn alike."
    )


SHOWN = 10
"""How many names a message has at most."""


def _may_differ(model: Model, info: onnx.ValueInfoProto, candidates: Set[str]) -> bool:
    """Whether an input that nobody declared has, or may have, the candidates' axis: in the first place or another."""
    shape = shape_of(info)
    if shape is None:
        return True
    return any(
        i == 0 or not e or not is_named(e) or not candidates.isdisjoint({e, model.axis_symbol(info.name, i, e)})
        for i, e in enumerate(shape)
        if not isinstance(e, int)
    )


@dataclass(frozen=True)
class LeadingAxes:
    """The dynamic leading axes of a model's inputs, as symbols that count their rows.

    `stated` has the symbol of each input. `proven` has the same with one symbol for all that the graph proves equal:
    Concat(user [A, 4], item [B, 4]) makes A and B one. `named` has the exporter's name of each axis that has one. It
    decides about declared inputs whose axis no operator needs to be equal to another. `selected` are symbols of axes
    whose rows the model selects. `by_index` are those of them from which the rows of another input select, as in
    Gather(user, req_index). The rest is selected by a mask or a TopK, which may select some of the items.
    """

    stated: Mapping[str, str]
    proven: Mapping[str, str]
    named: Mapping[str, str]
    selected: frozenset[str] = frozenset()
    by_index: frozenset[str] = frozenset()


def _leading_axes(model: Model, interpreted: Callable[[], Program]) -> LeadingAxes:
    stated, names = model.leading_symbols, leading_names(model)
    if len(set(stated.values())) <= 1:
        return LeadingAxes(stated, stated, names)
    program = interpreted()
    proven = {name: program.same.get(symbol, symbol) for name, symbol in stated.items()}
    selected, counts = program.context.row_selectors, set(proven.values())
    return LeadingAxes(
        stated,
        proven,
        names,
        frozenset(selected),
        frozenset(rows for rows, index_symbols in selected.items() if index_symbols & counts),
    )


class _Evidence:
    """The facts that decide roles: the reason for each declared input, and the leading axes of all inputs."""

    def __init__(self, declared: Mapping[str, str], axes: LeadingAxes) -> None:
        self.declared = declared
        self.axes = axes
        self.candidates = {
            symbol for name, symbol in axes.proven.items() if name not in declared and symbol not in axes.by_index
        }
        """The symbols that may count candidates: those of inputs that are neither declared nor selected by an index."""
        self.names = {axes.named.get(name) for name, symbol in axes.proven.items() if symbol in self.candidates} - {
            None
        }
        """The exporter's names of these axes."""


class _Role(Enum):
    """Why an input is the request's, and what its leading axis holds."""

    SELECTED = auto()
    OF_ANOTHER_AXIS = auto()
    TILED = auto()
    ONE_ROW = auto()
    SHARED = auto()


def _is_selected(info: onnx.ValueInfoProto, evidence: _Evidence) -> bool:
    """Whether rows of the input are selected for the candidates: `Gather(rows, index)`.

    The rows of an input that is not declared have to be selected by an index with the leading axis of another input.
    A mask or a TopK is not enough, since it may select some of the items.
    """
    axes = evidence.axes
    selected = axes.selected if info.name in evidence.declared else axes.by_index
    return axes.proven.get(info.name) in selected


def _is_of_another_axis(info: onnx.ValueInfoProto, evidence: _Evidence) -> bool:
    """Whether the input is declared, and its leading axis has another name than that of the candidates.

    The rows of `user` [R, 4] beside `item` [B, 3] may all be different, and keeping only the first would be wrong.
    """
    symbol, name = evidence.axes.proven.get(info.name), evidence.axes.named.get(info.name)
    if info.name not in evidence.declared or symbol is None or not evidence.candidates:
        return False
    return is_named(symbol) and symbol not in evidence.candidates and name not in evidence.names


def _is_tiled(info: onnx.ValueInfoProto, evidence: _Evidence) -> bool:
    """Whether the input is declared and has a dynamic leading axis; other axes than the candidates' were found."""
    return info.name in evidence.declared and info.name in evidence.axes.stated


def _is_one_row(info: onnx.ValueInfoProto, evidence: _Evidence) -> bool:
    """Whether the leading extent is 1, and that of another input dynamic. Else the row may be the one candidate."""
    shape = shape_of(info)
    return bool(shape) and shape is not None and shape[0] == 1 and bool(evidence.axes.stated)


def _is_shared(info: onnx.ValueInfoProto, evidence: _Evidence) -> bool:
    """Whether the input is declared; with a dynamic leading extent, or 1, it has got another role before."""
    return info.name in evidence.declared


_TESTS: Mapping[_Role, Callable[[onnx.ValueInfoProto, _Evidence], bool]] = {
    _Role.SELECTED: _is_selected,
    _Role.OF_ANOTHER_AXIS: _is_of_another_axis,
    _Role.TILED: _is_tiled,
    _Role.ONE_ROW: _is_one_row,
    _Role.SHARED: _is_shared,
}
"""The tests in order: an input has the first role whose test holds."""


def _role(info: onnx.ValueInfoProto, evidence: _Evidence) -> _Role | None:
    return next((role for role, holds in _TESTS.items() if holds(info, evidence)), None)


def _reported(name: str, role: _Role, evidence: _Evidence) -> RequestInput:
    """What the report says about an input that is not tiled."""
    why = evidence.declared.get(name, "found")
    match role:
        case _Role.SELECTED:
            return RequestInput(name, REQUESTS, f"{why}: an index selects its rows for the candidates")
        case _Role.OF_ANOTHER_AXIS:
            axis = f"its leading axis {evidence.axes.stated[name]} is not known to be the candidates'"
            return RequestInput(name, REQUESTS, f"{why}: {axis}, so all rows are used")
        case _Role.ONE_ROW:
            return RequestInput(name, ONE, f"{why}: leading extent 1 beside dynamic ones")
    return RequestInput(name, SHARED, f"{why}: it has no axis of candidates")
