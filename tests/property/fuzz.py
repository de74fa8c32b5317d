"""Many random graphs, in processes of their own: `python -m tests.property.fuzz 10000`.

A graph that fails is printed as ONNX text, with its seed; `--seed` runs one again. With `--operator NAME` every
graph has that operator, and the same seed is that of another graph.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from random import Random

import click
import onnx

from mari_onnx.document.check import check
from mari_onnx.document.read import from_proto
from mari_onnx.errors import ModelError
from mari_onnx.ir import validate
from tests.property.evaluate import loads, session
from tests.property.graphs import Case, write_case
from tests.property.invariant import BrokenError, check_forms, check_optimized, originals
from tests.property.seen import FAMILIES, KINDS, OPERATORS, Seen, named

validate.ENABLED = True

RESTLESS = 0.015
"""The share of random graphs in which a second run may still find a node or two; real models leave it nothing."""


DRAWS = 10_000
"""How many graphs are drawn at most for one that has a wanted operator; the rarest is in one of a few hundred."""


def drawn(seed: int, operator: str | None = None) -> Case:
    """The graph of a seed: the first that is drawn, or the first that has the operator."""
    random = Random(seed)
    for _ in range(DRAWS):
        case = write_case(random)
        if operator is None or any(named(node.op_type, node.domain) == operator for node in case.model.graph.node):
            return case
    raise LookupError(f"none of {DRAWS} random graphs has {operator}")


def work(first: int, last: int, operator: str | None) -> None:
    """Run the seeds [first, last), a line for each; the process may die with onnxruntime at any of them."""
    seen = Seen()
    for seed in range(first, last):
        _say(start=seed)
        try:
            case = drawn(seed, operator)
        except Exception:
            _say(seed=seed, failed="the generator: " + traceback.format_exc())
            continue
        failed = failure(case, seen)
        if failed is not None:
            _say(seed=seed, failed=failed, case=repr(minimized(case, failed)))
    _say(seen={name: list(counts.items()) for name, counts in vars(seen).items()})


def failure(case: Case, seen: Seen | None = None) -> str | None:
    """What is wrong with the case, if anything."""
    for holds in (check_forms, check_optimized):
        try:
            holds(case, seen)
        except Exception as failed:
            if not loads(case.model):
                return None
            return f"{failed}\n{'' if isinstance(failed, BrokenError | ModelError) else traceback.format_exc()}"
    return None


def _kind(failed: str | None) -> str:
    """What went wrong, without names and numbers."""
    return re.sub(r"[^a-z ]+|\bt\d+", "", (failed or "").partition("\n")[0])[:30]


def minimized(case: Case, failed: str) -> Case:
    """A smaller case that fails as well: one output, and nodes left out while the original still runs."""
    smaller, kind = True, _kind(failed)
    while smaller:
        smaller = False
        for candidate in smaller_cases(case):
            try:
                if _runs(candidate) and _kind(failure(candidate)) == kind:
                    case, smaller = candidate, True
                    break
            except Exception:
                continue
    return case


def _runs(case: Case) -> bool:
    """Whether the original is a valid model that runs at some size: an invalid one fails like an invalid result."""
    check(from_proto(case.model))
    return bool(originals(case, {o.name: o.type.tensor_type.elem_type for o in case.model.graph.output}))


def smaller_cases(case: Case) -> Iterator[Case]:
    nodes = list(case.model.graph.node)
    for node in nodes:
        for output in node.output:
            yield from _cut(case, nodes, output)
    last = case.model.graph.output[0].name
    for i, node in enumerate(nodes):
        for source in node.input:
            rest = []
            for other in nodes[:i] + nodes[i + 1 :]:
                copy = onnx.NodeProto()
                copy.CopyFrom(other)
                copy.input[:] = [source if name == node.output[0] else name for name in copy.input]
                rest.append(copy)
            yield from _cut(case, rest, last)


def _cut(case: Case, nodes: list[onnx.NodeProto], output: str) -> Iterator[Case]:
    """The case with this output alone and what it needs, if that is less."""
    needed = {output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.insert(0, node)
            bodies = [body for a in node.attribute for body in (a.g, *a.graphs)]
            needed.update(node.input, (name for body in bodies for inner in body.node for name in inner.input))
    if len(kept) >= len(case.model.graph.node) and len(case.model.graph.output) == 1:
        return
    try:
        inferred = onnx.shape_inference.infer_shapes(case.model).graph
        info = next(v for v in (*inferred.output, *inferred.value_info) if v.name == output)
    except Exception:
        return
    graph = onnx.helper.make_graph(
        kept,
        "smaller",
        [i for i in case.model.graph.input if i.name in needed or i.name in case.declared] or case.model.graph.input,
        [info],
        [t for t in case.model.graph.initializer if t.name in needed],
    )
    model = onnx.helper.make_model(graph, opset_imports=case.model.opset_import, ir_version=10)
    names = {i.name for i in graph.input}
    yield replace(case, model=model, sources=tuple(s for s in case.sources if s.made.name in names))


def _say(**content: object) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def _chunk(first: int, last: int, operator: str | None) -> tuple[Seen, list[dict[str, str]]]:
    """The seeds in a process of their own; one that kills it is left out, and said."""
    seen, failures = Seen(), []
    command = [sys.executable, "-m", "tests.property.fuzz", *(["--operator", operator] if operator else [])]
    while first < last:
        done = subprocess.run([*command, "--work", str(first), str(last)], capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        failures += [line for line in lines if "failed" in line]
        for line in lines:
            for name, counts in line.get("seen", {}).items():
                getattr(seen, name).update({tuple(k) if isinstance(k, list) else k: n for k, n in counts})
        if done.returncode == 0:
            break
        at = next((line["start"] for line in reversed(lines) if "start" in line), first)
        if subprocess.run([*command, "--original", str(at)], capture_output=True, check=False).returncode < 0:
            seen.runs["onnxruntime dies of the original"] += 1
        else:
            failures.append({"seed": at, "failed": f"the process died: {done.returncode}\n{done.stderr[-2000:]}"})
        first = at + 1
    return seen, failures


def load_original(seed: int, operator: str | None) -> None:
    """What onnxruntime may not survive: Transpose <perm = [1, 0, 2]> and MatMul with a weight in half precision."""
    model = drawn(seed, operator).model
    for optimized in (False, True):
        with suppress(Exception):
            session(model, optimized=optimized)


def _report(seen: Seen, failures: list[dict[str, str]], examples: int, seconds: float) -> None:
    for failure in failures[:100]:
        click.echo(f"--- seed {failure['seed']}: {failure['failed']}\n{failure.get('case', '')}")
    for kind in KINDS:
        click.echo(f"{kind:24} " + " ".join(f"{f} {seen.forms[f, kind]:<6}" for f in FAMILIES))
    click.echo(f"remembered: {dict(seen.remembered)}")
    click.echo(f"runs: {dict(seen.runs)}")
    again, once = seen.runs["optimized again"], seen.runs["optimized"]
    click.echo(f"a second run found more in {again} of {once} that were optimized")
    click.echo(f"never exercised: {', '.join(seen.never()) or 'nothing'}")
    click.echo(f"{examples} graphs, {len(failures)} failures, {seconds:.0f} s: {[f['seed'] for f in failures][:60]}")


def _known_operator(_ctx: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    if name is not None and name not in OPERATORS:
        raise click.BadParameter(f"there is no rule for {name}")
    return name


@click.command()
@click.argument("examples", type=int, default=2000)
@click.option("--first", type=int, default=None, help="The first seed; random if it is left out.")
@click.option("--workers", type=int, default=os.cpu_count() or 1)
@click.option("--complete", is_flag=True, help="Fail as well where an operator or a form was never exercised.")
@click.option(
    "--operator", metavar="NAME", callback=_known_operator, help="Draw graphs that have this operator: Softmax."
)
@click.option("--work", "span", type=(int, int), default=None, hidden=True)
@click.option("--original", type=int, default=None, hidden=True)
@click.option("--seed", type=int, default=None, help="Run this one again, here.")
def main(
    examples: int,
    first: int | None,
    workers: int,
    complete: bool,
    operator: str | None,
    span: tuple[int, int] | None,
    original: int | None,
    seed: int | None,
) -> None:
    """Check that many random graphs."""
    if span is not None:
        work(*span, operator)
        return
    if original is not None:
        load_original(original, operator)
        return
    if seed is not None:
        case = drawn(seed, operator)
        click.echo(repr(case))
        check_forms(case)
        check_optimized(case)
        return
    begin = Random().randrange(10**9) if first is None else first
    started = time.monotonic()
    size = max(1, min(200, -(-examples // workers)))
    chunks = [(i, min(i + size, begin + examples)) for i in range(begin, begin + examples, size)]
    seen, failures = Seen(), []
    with ThreadPoolExecutor(workers) as pool:
        for part, failed in pool.map(lambda chunk: _chunk(chunk[0], chunk[1], operator), chunks):
            for failure in failed:  # at once: the whole run may take an hour
                click.echo(f"seed {failure['seed']} failed", err=True)
            failures += failed
            seen.update(part)
    _report(seen, failures, examples, time.monotonic() - started)
    restless = seen.runs["optimized again"] > RESTLESS * seen.runs["optimized"]
    sys.exit(bool(failures) or (complete and (bool(seen.never()) or restless)))


if __name__ == "__main__":
    main()
