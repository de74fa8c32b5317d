"""Checks of arguments whose types nothing checks in Python, so that a mistake is told and does not become a bug."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from mari_onnx.errors import UserError


def names(argument: str, given: object) -> tuple[str, ...]:
    """Names or globs as a tuple. A string is one of them, and not a sequence of letters. Raises UserError else."""
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise UserError(f"{argument} is {given!r}, and has to be a name or a list of names", "Give ['user_*'], say.")
    found = tuple(given)
    for each in found:
        if not isinstance(each, str):
            raise UserError(f"{argument} has {each!r} in it, which is no name", "Give the names of inputs.")
    return found


def numbers(argument: str, given: object, least: int) -> tuple[int, ...]:
    """Whole numbers from `least` on, at least one, as a tuple. Raises UserError for anything else."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise UserError(f"{argument} is {given!r}, and has to be a list of whole numbers", "Give [1, 100], say.")
    found = tuple(number(argument, each, least) for each in given)
    if not found:
        raise UserError(f"{argument} is empty", f"Give one or more whole numbers, each {least} or larger.")
    return found


def number(argument: str, given: object, least: int) -> int:
    """A whole number from `least` on; NumPy's are numbers as well. Raises UserError for anything else."""
    try:
        found = None if isinstance(given, bool) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or found < least:
        raise UserError(f"{argument} is {given!r}", f"Give a whole number, {least} or larger.")
    return found


def candidates(argument: str, given: object) -> tuple[int, int | None]:
    """Numbers of candidates: the largest, and the smallest of several. Raises UserError for anything else."""
    found = numbers(argument, given, 1) if isinstance(given, Iterable) else (number(argument, given, 1),)
    return max(found), min(found) if len(set(found)) > 1 else None


def flag(argument: str, given: object) -> None:
    """Raise UserError unless the argument is True or False: `dynamic_batch="no"` would mean yes."""
    if not isinstance(given, bool):
        raise UserError(f"{argument} is {given!r}", "Give True or False.")
