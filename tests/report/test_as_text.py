"""The view for people: nothing is cut off, nothing is taken for markup, and the last line says it all."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mari_onnx.report.as_text import SHOWN, to_text
from mari_onnx.report.model import Cost, Difference, Remark, Verification
from mari_onnx.report.note import Note
from tests.report import reports

ANSI = re.compile(r"\x1b\[[0-9;]*m")


VERDICTS = {
    "precomputed": "✓ 2 M rows in 40 files, of which 38 were there, 512 MB: store",
    "not_computed": "✗ items.parquet, row group 3 was not computed: onnxruntime stopped (signal 11); run it by itself",
    "replayed": "! The same predictions: 19,996 requests with 10 M candidates, at most 4.9e-07 of the scale apart, "
    "in 2.0 times less time; the reference does not run on 4 of 20,000 "
    f"requests: request a|7: indices element out of data bounds, {reports.LONG}",
    "broken": f"✗ A promise is broken: rows of `{reports.LONG}` are not identical in 1 of 20,000 requests: request 7: "
    "1 in the first row, 3 in row 5 (and 3 more)",
    "not_replayed": "✗ Nothing was compared: no request was drawn",
    "surveyed": "· -u user_id -u 'f[[]u_*' declares the 2 inputs that are the same in all rows of 1,100 requests: "
    "2.0 times less arithmetic (8 M → 4 M multiply-adds)",
    "timed": "! Slower in some calls: 2.1 times less time at 1,000 candidates on 2 threads in 4 calls at "
    "once, 4% more time at 1 candidate, the same predictions where the rows of these 4 inputs are identical",
    "slower": "✗ Not met: min-speedup 1.5: 0.960 (0.951 to 0.970) at 1 candidate",
    "optimized": "✓ 3.0 times less arithmetic (24.1 M → 8 M multiply-adds), the same predictions where the rows of "
    "these 4 inputs are identical: written to out.onnx",
    "wrong": "✗ The predictions differ: scalar at batch 64 by inf, where 0 is allowed (and 1 more); "
    "nothing was written",
    "left_out": "! 3.0 times less arithmetic (24.1 M → 8 M multiply-adds), the same predictions where the rows of "
    "these 4 inputs are identical, without the rewrite of 2 nodes that failed the verification: written to out.onnx",
    "unchanged": "· Nothing can be gained here, because no input is known to belong to the request "
    "(-u 'user_*' names those that look like it): written to out.onnx as it was",
    "unverified": "! 3.0 times less arithmetic (24.1 M → 8 M multiply-adds), not verified: written to out.onnx",
    "inspected": "· To be gained: 3.0 times less arithmetic (24.1 M → 8 M multiply-adds)",
    "bare": "· No input is known to belong to the request: --user-input 'user_*' names those that do",
    "verified": "✓ The same predictions where the rows of `user_id` and `user_age` are identical: "
    "1 output at batches 1, 2, 7, 64, at most 3.0e-08 of the scale apart",
    "located": "✗ The predictions differ: score at batch 7 (largest ids) by 3.1e-01, where 1.0e-06 is allowed",
    "same": "✓ The same predictions: 1 output at batches 1, 2, 7, 64, at most 3.0e-08 of the scale apart",
    "different": "✗ The predictions differ: scalar at batch 64 by inf, where 0 is allowed (and 1 more)",
}


@pytest.mark.parametrize("name", reports.EVERY)
def test_the_last_line_is_the_verdict_and_quiet_shows_it_alone(name: str) -> None:
    report = reports.EVERY[name]
    assert to_text(report, verbosity=-1) == VERDICTS[name] + "\n"
    assert to_text(report).endswith("\n" + VERDICTS[name] + "\n")


@pytest.mark.parametrize("name", reports.EVERY)
@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_a_terminal_is_not_exceeded(name: str, verbosity: int) -> None:
    for width in (40, 80, 120):
        text = to_text(reports.EVERY[name], verbosity=verbosity, terminal=True, width=width)
        assert max(len(ANSI.sub("", line)) for line in text.splitlines()) <= width


def test_on_a_terminal_names_are_folded_and_not_cut() -> None:
    text = ANSI.sub("", to_text(reports.OPTIMIZED, terminal=True, width=80))
    assert reports.LONG in "".join(line.strip() for line in text.splitlines())
    assert "…" not in text.split("Products")[1]


def test_in_a_pipe_names_stay_in_one_piece_and_nothing_is_coloured() -> None:
    text = to_text(reports.OPTIMIZED, verbosity=1)
    assert reports.LONG in text
    assert "\x1b" not in text
    assert not re.search(r" $", text, re.MULTILINE)


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in to_text(reports.OPTIMIZED, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", to_text(reports.OPTIMIZED, terminal=True))


def test_names_are_not_markup() -> None:
    assert "tower/fc2 [bold]not markup[/bold]" in to_text(reports.OPTIMIZED)


def test_what_is_shown_of_a_remark() -> None:
    text, everything = (to_text(reports.OPTIMIZED, verbosity=v) for v in (0, 1))
    assert "[B 256] = user () + item (B)" in text
    assert "→ give input `a` a fixed feature width" in text
    assert "51%" in text
    assert "because user_id was declared" not in text
    assert "because user_id was declared" in everything
    assert text.index("tower/fc1") < text.index("attention/fc1") < text.index("tower/fc2")


def test_a_rule_that_broke_is_shown() -> None:
    remark = Remark("broken", "Relu", "n", "Relu", "h", "a bug in mari-onnx: IndexError", "[B] = item (B)", "report it")
    text = to_text(replace(reports.OPTIMIZED, remarks=(remark,)))
    assert "✗" in text and "a bug in mari-onnx: IndexError" in text and "→ report it" in text


def test_inputs_that_are_alike_are_one_row() -> None:
    text, everything = (to_text(reports.OPTIMIZED, verbosity=v) for v in (0, 1))
    assert "  tiled    user_id, user_age, user_city, user_level\n           matches 'user_*'\n" in text
    assert "  user_history  int64 [batch 50]  one row  its leading axis is 1\n" in everything


def test_long_lists_are_summed_up() -> None:
    small_ones = tuple(Remark("as is", "product", "", "Gemm", f"small/{i}", "varies", macs_before=1) for i in range(30))
    applied = tuple(Remark("applied", "product", "", "Gemm", f"large/{i}", "", macs_before=10**6) for i in range(15))
    report = replace(reports.OPTIMIZED, remarks=small_ones + applied, request_inputs=reports.REQUEST * 5)
    text, everything = (to_text(report, verbosity=v) for v in (0, 1))
    assert text.count("large/") == SHOWN
    assert "and 35 more: 5 applied, 30 as is (-v shows them)" in text
    assert f"{', '.join(['user_id, user_age, user_city, user_level'] * 2)}, user_id, user_age and 10 more" in text
    assert everything.count("large/") + everything.count("small/") == 45
    assert " more" not in everything.split("Cost")[0]


def test_of_many_comparisons_those_are_shown_that_failed_or_came_closest() -> None:
    passed = [Difference(b, f"out{i}", b * 1e-9, 0, 1e-6, True) for b in (1, 2, 7, 64) for i in range(5)]
    failed = [Difference(b, "bad", 1.0, 1.0, 1e-6, False) for b in (1, 64)]
    report = replace(reports.WRONG, verification=Verification(False, 0, 0, 0, (*passed, *failed)))
    section = to_text(report).split("Verification")[1]
    assert section.count("bad") == 3  # two rows and the verdict
    assert re.findall(r"(\d+)  out\d", section) == ["64"] * 5
    assert "and 15 more: 15 passed (-v shows them)" in section


def test_nothing_was_compared() -> None:
    nothing = Verification(False, 0, 0, 0, (), (Note("nothing-compared", "the reference ran at no batch"),))
    assert to_text(replace(reports.DIFFERENT, verification=nothing), verbosity=-1) == (
        "✗ Nothing was shown to be the same: the reference ran at no batch\n"
    )


def test_a_gain_without_arithmetic() -> None:
    after = Cost(500, 24_100_000, 0, 48_200.0, 100, 800.0)
    assert to_text(replace(reports.OPTIMIZED, cost_after=after), verbosity=-1).startswith(
        "✓ 142 → 100 nodes, about 1.3 times less time, the same predictions"
    )
