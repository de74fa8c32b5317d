"""Reports as workflow commands of GitHub, which become annotations of a workflow run and of the file of the model."""

from __future__ import annotations

from collections.abc import Iterator

from mari_onnx.report.benchmark_words import asked
from mari_onnx.report.model import Report
from mari_onnx.report.replay_words import problems
from mari_onnx.report.words import failed, judged, left_out, subject

SHOWN = 9
"""The most annotations of one kind beside the verdict; GitHub shows ten errors, warnings and notices each a step."""


def to_github(report: Report) -> str:
    """An annotation for each comparison that failed and for each note, and the verdict."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    file = subject(report)
    verification = report.verification
    if verification is not None:
        for one in failed(verification)[:SHOWN]:
            yield _command("error", file, f"{one.output}, {one.case} at batch {one.batch}", one.message)
        for note in verification.notes[:SHOWN]:
            yield _command("warning", file, note.code, note.text)
        if (found := verification.divergence) is not None:
            rule = f" (rule {found.rule})" if found.rule else ""
            again = f"\n{found.command}" if found.command else ""
            yield _command("notice", file, "where it begins", f"{found.tensor}{rule}{again}")
    for sentence in problems(report.replay) if report.replay is not None else ():
        yield _command("warning" if report.replay and report.replay.passed else "error", file, "replay", sentence)
    for policy in report.policies:
        if not policy.met:
            yield _command("error", file, policy.name, asked(policy))
    for sentence in left_out(report):
        yield _command("warning", file, "left out", sentence)
    mark, _, verdict = judged(report)
    kind = {"✗": "error", "!": "warning"}.get(mark, "notice")
    yield _command(kind, file, f"mari-onnx {report.command}", verdict)


def _command(kind: str, file: str | None, title: str, message: str) -> str:
    properties = ([f"file={_property(file)}"] if file else []) + [f"title={_property(title)}"]
    return f"::{kind} {','.join(properties)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
