"""The journal: what has ended is there exactly once, whatever ended the process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from mari_onnx.errors import UserError
from mari_onnx.traffic.journal import journal

RUN = {"models": ["a"], "sample": 1.0}


def interrupted(path: Path, results: dict[int, int], *, resume: bool = False) -> dict[int, int]:
    """What was done before a run that writes these results and is then interrupted."""
    before: dict[int, int] = {}
    with suppress(KeyboardInterrupt), journal(path, RUN, resume=resume) as kept:
        before.update(kept.done)
        for number, result in results.items():
            kept.add(number, result)
        raise KeyboardInterrupt
    return before


def test_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert interrupted(path, {0: 10, 3: 13}) == {}
    assert interrupted(path, {1: 11}, resume=True) == {0: 10, 3: 13}
    with journal(path, RUN, resume=True) as kept:
        assert kept.done == {0: 10, 3: 13, 1: 11}
    assert not path.exists()


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_line_without_its_end_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    interrupted(path, {0: 10, 1: 11})
    path.write_bytes(path.read_bytes()[:-cut])
    assert interrupted(path, {2: 12}, resume=True) == ({0: 10} if cut < len('{"task": 1, "result": 11}\n') + 1 else {})
    assert interrupted(path, {}, resume=True).get(2) == 12


def test_a_journal_that_has_no_whole_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"journal": {"models": ["a"')
    assert interrupted(path, {0: 10}, resume=True) == {}


def test_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    interrupted(path, {0: 10})
    before = path.read_bytes()
    with (
        pytest.raises(UserError, match="is of another run: models, sample differ\n"),
        journal(path, {"models": ["b"], "sample": 0.5}, resume=True),
    ):
        pass
    with pytest.raises(UserError, match="interrupted after 1 tasks"), journal(path, RUN, resume=False):
        pass
    other = "is of another run that was interrupted after 1 tasks\nName another with --journal; or remove the file"
    with pytest.raises(UserError, match=other), journal(path, {"models": ["b"], "sample": 1.0}, resume=False):
        pass
    assert path.read_bytes() == before


def test_of_another_run_that_did_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    interrupted(path, {})
    with journal(path, {"models": ["b"], "sample": 1.0}, resume=False) as kept:
        assert kept.done == {}


def test_it_stays_where_tasks_are_left(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with journal(path, RUN, resume=True) as kept:
        kept.add(0, 10)
        kept.stays = True
    assert path.exists()


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"), journal(tmp_path / "no" / "journal", RUN, resume=False):
        pass


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("content", ["not to be lost", '{"user_id": [1, 2]}\n', "\n"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: str, resume: bool) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(content, encoding="utf-8")
    with (
        pytest.raises(UserError, match=r"requests\.jsonl is there, and is no journal"),
        journal(path, RUN, resume=resume),
    ):
        pass
    assert path.read_text(encoding="utf-8") == content
