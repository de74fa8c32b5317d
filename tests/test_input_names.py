"""Names: which belong together, which look like a user's, and which is meant."""

from __future__ import annotations

import fnmatch

import pytest

from mari_onnx.input_names import escaped, globs_of, groups, likely, nearest


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["user_id", "user_age", "item_id"], {"user_*": ["user_id", "user_age"], "item_id": ["item_id"]}),
        (["userId", "userAge", "itemId"], {"user*": ["userId", "userAge"], "itemId": ["itemId"]}),
        (["f.user_id", "f.user_age", "f.x"], {"f.user_*": ["f.user_id", "f.user_age"], "f.x": ["f.x"]}),
        (["f[user_a]", "f[user_b]", "f[x]"], {"f[[]user_*": ["f[user_a]", "f[user_b]"], "f[x]": ["f[x]"]}),
        (["user", "user_id", "x"], {"user": ["user"], "user_id": ["user_id"], "x": ["x"]}),
        (["user", "user_id", "user_age", "x"], {"user": ["user"], "user_*": ["user_id", "user_age"], "x": ["x"]}),
        (["input_1", "input_2"], {"input_1": ["input_1"], "input_2": ["input_2"]}),
        (["a*", "a*_b", "q"], {"a*": ["a*"], "a*_b": ["a*_b"], "q": ["q"]}),
        (["x"], {"x": ["x"]}),
        (["", "_", "user_id"], {"": [""], "_": ["_"], "user_id": ["user_id"]}),
        ([], {}),
    ],
)
def test_groups(names: list[str], expected: dict[str, list[str]]) -> None:
    assert {glob: list(some) for glob, some in groups(names).items()} == expected


@pytest.mark.parametrize("name", ["a*b", "a?b", "a[b]", "plain", "[[]", "a]b"])
def test_an_escaped_name_matches_itself_alone(name: str) -> None:
    assert fnmatch.fnmatchcase(name, escaped(name))
    assert not fnmatch.fnmatchcase("axb", escaped(name)) or name == "axb"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["user_id", "user_age", "item_id"], ("user_*",)),
        (["uid", "hist_items", "hist_len", "iid"], ("uid", "hist_*")),
        (["userAge", "userId", "itemId"], ("user*",)),
        (["user_f.id", "user_f.age"], ()),  # all of them begin so
        (["f_user_id", "f_user_age", "f_item_id"], ("f_user_*",)),
        (["ctx_hour", "item_id", "users_choice"], ("users_choice",)),
        (["item_user_ctr", "cross_user"], ()),
        (["user_id"], ("user_id",)),
        (["input_1", "input_2"], ()),
        ([], ()),
    ],
)
def test_names_that_look_like_a_user_s(names: list[str], expected: tuple[str, ...]) -> None:
    assert likely(names) == expected


def test_the_shortest_globs() -> None:
    names = ["user_id", "user_age", "ctx_hour", "ctx_position", "hour"]
    assert globs_of({"user_id", "user_age", "ctx_hour"}, names) == ("user_*", "ctx_hour")
    assert globs_of((), names) == ()


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("usr_*", "user_*"),
        ("userid", "user_id"),
        ("User_*", "user_*"),
        ("USER_AGE", "user_age"),
        ("users_*", "user_*"),
        ("item", "item_id"),
        ("completely different", None),
    ],
)
def test_what_is_meant(glob: str, expected: str | None) -> None:
    assert nearest(glob, ["user_id", "user_age", "item_id"]) == expected
