"""What pyproject.toml says of versions can be tried: every bound is one version, every Python is named once."""

from __future__ import annotations

import re
import sys

import pytest

from tests import versions


def test_the_oldest_python_is_the_one_that_is_required() -> None:
    assert versions.PROJECT["requires-python"] == f">={versions.supported()[0]}"
    minors = [int(version.removeprefix("3.")) for version in versions.supported()]
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_every_dependency_has_a_lowest_version() -> None:
    constraints = dict(line.split("==") for line in versions.lowest())
    for requirements in (versions.PROJECT["dependencies"], *versions.PROJECT["optional-dependencies"].values()):
        for requirement in (each for each in requirements if not each.startswith("mari-onnx[")):
            name, version = requirement.split(">=")
            assert versions.numbers(constraints[name]) >= versions.numbers(version)
    assert constraints["pyarrow"] == "17"  # two extras have it


def test_a_bound_without_a_lowest_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions.PROJECT, "dependencies", ["click"])
    with pytest.raises(ValueError, match=re.escape("'click' is not of the form 'name>=1.2'")):
        list(versions.lowest())


def test_an_interpreter_is_named_by_a_variable_or_found() -> None:
    assert versions.interpreter("3.12", {"PYTHON_3_12": sys.executable}) == sys.executable
    assert versions.interpreter("3.12", {"PYTHON_3_12": "/nowhere/python"}) is None
    assert versions.interpreter("0.1", {}) is None


def test_missing_interpreters_are_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []

    def passes(name: str, python: str, *, constraints: object = None) -> bool:
        ran.append(f"{name} {python} {constraints is not None}")
        return name != "lowest"

    monkeypatch.setattr(versions, "interpreter", lambda version, _: "/a/python" if version == "3.12" else None)
    monkeypatch.setattr(versions, "passes", passes)
    assert versions.main() == 1
    assert ran == ["3.12 /a/python False", "lowest /a/python True"]
    said = capsys.readouterr().out
    assert "Python 3.11 is skipped: there is no python3.11; PYTHON_3_11=PATH names one" in said
    assert said.endswith("3.12    passed\nlowest  failed\n")
    monkeypatch.setattr(versions, "interpreter", lambda version, _: None)
    assert versions.main() == 1
