"""The options that several commands share, and how a command writes and shows its report."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mari_onnx.budget import MAX_MEMORY, TIMEOUT
from mari_onnx.cli.numbers import Numbers
from mari_onnx.cli.output import SETTINGS, begin_reports, hand_over
from mari_onnx.report import SUFFIXES, VIEWS, require
from mari_onnx.serving import names

if TYPE_CHECKING:
    from mari_onnx.report.model import Report

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)

user_inputs = click.option(
    "-u",
    "--user-input",
    "user_inputs",
    metavar="GLOB",
    multiple=True,
    help="Inputs that hold the user (the request) and not a candidate, by name or quoted pattern: 'user_*'. "
    "May be given several times. Inputs whose shape shows it, such as [1, 20], need not be named.",
)

batch = click.option(
    "--batch",
    metavar="N[,N]",
    type=Numbers(),
    default="500",
    show_default=True,
    help="Candidates of a request: rewrites have to pay at this number. With 1,500 also calls with one matter.",
)


def parts(command: Command) -> Command:
    """Add the options `user_model` and `item_model`, which `verify`, `bench` and `replay` take by these names."""
    user_model = click.option(
        "--user-model",
        metavar="USER.onnx",
        type=FILE,
        help="The user model of a split, whose ranking model is OPT.onnx.",
    )
    item_model = click.option("--item-model", metavar="ITEM.onnx", type=FILE, help="The item model of the same split.")
    return user_model(item_model(command))


def bounded(command: Command) -> Command:
    """Add the options `timeout` and `max_memory`, which the functions of `mari_onnx` take by these names."""
    timeout = click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=TIMEOUT,
        show_default=True,
        help="Time that analysis and verification may take. What is not verified by then is not shown to be the same.",
    )
    max_memory = click.option(
        "--max-memory",
        metavar="GB",
        type=click.FloatRange(min=0, min_open=True),
        default=MAX_MEMORY,
        show_default=True,
        help="Memory that the analysis may take, and the same for the process in which models are run.",
    )
    return timeout(max_memory(command))


def _guard_name(_ctx: click.Context, _option: click.Parameter, value: str) -> str | None:
    return None if value == names.UNGUARDED else value


request_index = click.option(
    "--request-index",
    metavar="NAME",
    help="An integer input of the model that has, for each candidate, the number of the request's row. Implies "
    "--user-batch requests.",
)

dynamic_batch = click.option(
    "--dynamic-batch",
    is_flag=True,
    help="Make a number of candidates that was fixed at export, such as 200 in the leading extent of all inputs, any "
    "number. Refused where the graph does not allow it.",
)

assume_masked = click.option(
    "--assume-masked",
    is_flag=True,
    help="Vouch that scores of attention (q k', before a scale) are below 4,000 in magnitude, so that a mask of a "
    "finite number such as -1e9 hides the candidates from the user's history. Not needed for masks of -inf, and where "
    "the graph gives a bound.",
)

_ASKED: list[Callable[[Any], Any]] = [
    click.option(
        "--user-batch",
        type=click.Choice(names.USER_BATCHES),
        default=names.TILED,
        show_default=True,
        help="Rows that the caller sends in the user's inputs. tiled: one for each candidate, as exported; one: a "
        "single row; requests: one for each of several requests.",
    ),
    request_index,
    click.option(
        "--request-key",
        metavar="INPUT",
        multiple=True,
        help="For calls that mix users: rows with the same value of this input, an id, are one request's. May be given "
        "several times; then all values have to be equal.",
    ),
    click.option(
        "--guard",
        type=click.Choice([*names.GUARDS, names.UNGUARDED]),
        default=names.UNGUARDED,
        show_default=True,
        callback=_guard_name,
        help="Check in the model that the rows of a request are identical. Where they are not, all outputs are NaN "
        "(--guard or --guard=nan), or a further output `mari_guard` is false (--guard=output).",
    ),
    click.option(
        "--allow-no-candidates",
        is_flag=True,
        help="Allow all inputs to be the user's, so that every candidate gets the same answer: for a tower of the user "
        "alone.",
    ),
    dynamic_batch,
    assume_masked,
]


def asked_with(*first: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """What adds the options that decide which model is made, after those for the user's inputs and for the batch.

    The command gets `user_batch`, `request_index`, `request_key`, `guard`, `allow_no_candidates`, `dynamic_batch`,
    `assume_masked` and the options of `bounded`: arguments of `mari_onnx.optimize` and `mari_onnx.inspect`.
    """

    def add(command: Command) -> Command:
        command = bounded(command)
        for option in reversed([*first, *_ASKED]):
            command = option(command)
        return command

    return add


asked = asked_with(user_inputs, batch)


class WithGuard(click.Command):
    """A command whose `--guard` needs no value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f"--guard={names.NAN}" if arg == "--guard" else arg for arg in args])


def configured(command: Command) -> Command:
    """Add `--config` and `--no-config`, and take the defaults of all options from a configuration."""
    without = click.option(
        "--no-config",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_without,
        help="Read no settings.",
    )
    config = click.option(
        "--config",
        metavar="FILE.toml",
        type=FILE,
        is_eager=True,
        expose_value=False,
        callback=_configure,
        help="Read settings from this file, in place of the nearest mari-onnx.toml, or pyproject.toml with "
        "[tool.mari-onnx], in the working directory or above it.",
    )
    return config(without(command))


_WITHOUT = "mari-onnx without configuration"


def _without(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.meta[_WITHOUT] = value


def _configure(ctx: click.Context, _option: click.Parameter, value: Path | None) -> None:
    from mari_onnx.cli.configuration import find, read

    if value is None and not ctx.meta.get(_WITHOUT):
        value = find(Path.cwd())
    if value is not None:
        settings = read(value)
        for option in ctx.command.params:
            words = option.type.choices if isinstance(option.type, click.Choice) else None
            if words is not None and settings.get(option.name or "") not in (None, *words):
                del settings[option.name or ""]  # a choice that only other commands have, such as user-batch = "tiled"
        ctx.default_map = settings
        ctx.meta[SETTINGS] = str(value)


_ENDINGS = {view: ", ".join(e for e, of in SUFFIXES.items() if of == view) for view in SUFFIXES.values()}
_FORMS = ", ".join(f"{view} ({e}{', or no ending' * (view == 'json')})" for view, e in _ENDINGS.items())

report_files = click.option(
    "--report",
    "report_files",
    metavar="FILE",
    type=FILE,
    multiple=True,
    help="Also write the report to this file, whatever the result; an older one is removed first. The name decides the "
    f"form: {_FORMS}. May be given several times.",
)

form = click.option(
    "--format",
    "form",
    type=click.Choice(VIEWS),
    default=VIEWS[0],
    show_default=True,
    callback=lambda _ctx, _option, view: require(view),
    help="Form of the report on the standard output; github: annotations of a GitHub workflow, and its step summary.",
)


def verbosity(command: Command) -> Command:
    """Add `-q` and `-v`, which the command gets as `quiet` and `verbose`."""
    verbose = click.option("-v", "--verbose", is_flag=True, help="Show every remark with its chain of reasons.")
    quiet = click.option("-q", "--quiet", is_flag=True, help="Show the verdict alone, in one line.")
    return quiet(verbose(command))


@dataclass(frozen=True)
class Writing:
    """The options of a command that writes models, and what they do with its result."""

    no_verify: bool
    no_metadata: bool
    form: str
    report_files: tuple[Path, ...]
    dry_run: bool
    overwrite: bool
    quiet: bool
    verbose: bool

    def check(self, model: Path, outputs: Collection[Path]) -> None:
        """Raise `UserError` unless the outputs and the reports can be written without replacing a model unasked.

        Older reports are removed.
        """
        from mari_onnx.document.save import check_output

        begin_reports(self.report_files, model, *outputs)
        for output in outputs:
            check_output(output, model, overwrite=self.overwrite)

    def wants(self, report: Report) -> bool:
        """Whether the models are to be written: the result passed, and there is no `--dry-run`."""
        return not self.dry_run and report.passed

    def hand_over(self, report: Report, problems: list[Exception]) -> None:
        """Write and show the report; see `hand_over`."""
        hand_over(report, self.report_files, problems, quiet=self.quiet, verbose=self.verbose, form=self.form)


def writing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `Writing`, which the command gets as one parameter `writing`, and those of `configured`."""

    @wraps(command)
    def gathered(**given: Any) -> None:
        command(writing=Writing(**{each.name: given.pop(each.name) for each in fields(Writing)}), **given)

    no_verify = click.option(
        "--no-verify", is_flag=True, help="Write the result without running it against the original."
    )
    no_metadata = click.option(
        "--no-metadata",
        is_flag=True,
        help="Say nothing in the metadata of the result: not what it was made from, nor by which rules.",
    )
    dry_run = click.option("--dry-run", is_flag=True, help="Optimize and verify, but write no model.")
    overwrite = click.option("--overwrite", is_flag=True, help="Replace output files that exist.")
    return no_verify(no_metadata(form(report_files(dry_run(overwrite(configured(verbosity(gathered))))))))
