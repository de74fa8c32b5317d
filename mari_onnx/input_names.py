"""Names of inputs: which begin alike, which look like those of a user, and which is meant by one that does not exist.

A name says nothing for certain. What is found here is a suggestion, and never decides what an input holds.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection, Sequence

OF_USERS = ("user", "users", "usr", "uid", "u", "member", "viewer", "visitor", "customer", "buyer", "query", "session")
OF_HISTORIES = ("hist", "history", "histories", "behavior", "behaviour", "clicked", "past")
WORDS = frozenset((*OF_USERS, *OF_HISTORIES))
"""The first words of names that look like those of a user, or of a history."""

_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_MARKS = "_./-:[ "


def groups(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names that begin with the same word, by a glob that matches these alone; a name by itself is its own glob.

    What all names begin with says nothing: of `f.user_id`, `f.user_age` and `f.item_id` the groups are `f.user_*` and
    `f.item_id`.
    """
    keys = _keys(names, 0)
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(keys[name], []).append(name)
    found: dict[str, tuple[str, ...]] = {}
    for key, some in alike.items():
        glob = f"{escaped(key)}*"
        if (
            len(some) > 1
            and glob not in names
            and all((name in some) == fnmatch.fnmatchcase(name, glob) for name in names)
        ):
            found[glob] = tuple(some)
        else:
            found.update((name, (name,)) for name in some)
    return found


def escaped(name: str) -> str:
    """The glob that matches this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _keys(names: Sequence[str], start: int) -> dict[str, str]:
    """What each name begins with: its first word behind `start`, and the mark that follows."""
    keys = {name: name[: _end(name, start)] for name in names}
    common = set(keys.values())
    if len(names) > 1 and len(common) == 1 and start < (end := len(common.pop())):
        return _keys(names, end)
    return keys


def _end(name: str, start: int) -> int:
    found = _WORD.search(name, start)
    if found is None:
        return len(name)
    end = found.end()
    return end + 1 if end < len(name) and name[end] in _MARKS else end


def likely(names: Sequence[str]) -> tuple[str, ...]:
    """The globs of `groups` whose first word is one of `WORDS`."""
    keys = _keys(names, 0)
    shared = min((len(name) for name in names), default=0)
    while shared and len({name[:shared] for name in names}) > 1:
        shared -= 1
    return tuple(
        glob for glob, some in groups(names).items() if _words(keys[some[0]], shared if len(names) > 1 else 0) & WORDS
    )


def _words(key: str, shared: int) -> set[str]:
    """The last word of what a name begins with, if it is not a part of what all names begin with."""
    found = [match[0].lower() for match in _WORD.finditer(key) if match.end() > shared]
    return set(found[-1:])


def globs_of(chosen: Collection[str], names: Sequence[str]) -> tuple[str, ...]:
    """The shortest globs that match the chosen ones of the names and no other."""
    found: list[str] = []
    for glob, some in groups(names).items():
        if all(name in chosen for name in some):
            found.append(glob)
        else:
            found += [name for name in some if name in chosen]
    return tuple(found)


def nearest(glob: str, names: Sequence[str]) -> str | None:
    """The glob or the name that is meant by one that matches nothing; None where nothing is near."""
    known = {each.rstrip("*").lower(): each for each in (*groups(names), *names)}
    close = difflib.get_close_matches(glob.rstrip("*").lower(), known, 1, 0.6)
    return known[close[0]] if close else None
