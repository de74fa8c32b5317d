"""`mari-onnx split`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mari_onnx.cli import options, output, policies
from mari_onnx.cli.numbers import Bytes, fold_tables
from mari_onnx.cli.progress import progress
from mari_onnx.errors import UserError
from mari_onnx.report.split import Role
from mari_onnx.serving import names

if TYPE_CHECKING:
    from mari_onnx.report.model import Report


@click.command(short_help="Write the user's part and the rest as two models.")
@click.argument("model", metavar="IN.onnx", type=options.FILE)
@click.option("--user-model", metavar="USER.onnx", type=options.FILE, required=True, help="File of the user's part.")
@click.option("--rank-model", metavar="RANK.onnx", type=options.FILE, required=True, help="File of the rest.")
@click.option(
    "--item-model",
    metavar="ITEM.onnx",
    type=options.FILE,
    help="File of a third model, of what depends on the item alone and can be computed beforehand. Needs --item-input.",
)
@options.user_inputs
@click.option(
    "--item-input",
    "item_inputs",
    metavar="GLOB",
    multiple=True,
    help="Inputs that depend on the item alone and not on the user, by name or quoted pattern: 'item_*'. May be given "
    "several times.",
)
@options.batch
@click.option(
    "--user-batch",
    type=click.Choice(names.SPLIT_USER_BATCHES),
    default=names.ONE,
    show_default=True,
    help="Rows that the user model takes: one, or one for each of several requests.",
)
@options.request_index
@options.dynamic_batch
@options.assume_masked
@click.option(
    "--crossing",
    type=click.Choice(["float16"]),
    help="Type in which computed float32 numbers cross: float16 halves their bytes. The last line says how far that "
    "moves scores.",
)
@click.option(
    "--max-user-bytes",
    metavar="BYTES",
    type=Bytes(),
    help="The most that may cross for a request, in float32. The ranking model then computes again what it has to.",
)
@click.option(
    "--max-item-bytes", metavar="BYTES", type=Bytes(), help="The most that may cross for an item, in float32."
)
@fold_tables
@options.bounded
@policies.trust
@options.writing
def split(
    model: Path,
    user_model: Path,
    rank_model: Path,
    item_model: Path | None,
    item_inputs: tuple[str, ...],
    max_user_bytes: int | None,
    max_item_bytes: int | None,
    writing: options.Writing,
    **asked: Any,
) -> None:
    """Write the user's part of a model and the rest as two models, which together make the same predictions.

    The user model runs once for each request: before ranking, or beside retrieval. Its outputs may be cached, and are
    further inputs of the ranking model. The graph is cut where few bytes go from one model to the other; the report
    lists them. With --item-model there is a third model, of what depends on the item alone, for a feature store.

    \b
    Examples:
      mari-onnx split model.onnx --user-model user.onnx --rank-model rank.onnx -u 'user_*'
      mari-onnx split model.onnx -u 'user_*' --user-model u.onnx --rank-model r.onnx \\
                      --user-batch requests
      mari-onnx split model.onnx -u 'user_*' --user-model u.onnx --rank-model r.onnx \\
                      --item-input 'item_*' --item-model i.onnx
    """
    import mari_onnx
    from mari_onnx.document.save import save_all

    if item_model is not None and not item_inputs:
        raise UserError("--item-model needs the inputs of the items", "Name them: --item-input 'item_*'.")
    if max_item_bytes is not None and not item_model:
        raise UserError("--max-item-bytes bounds what an item model computes", "Name one: --item-model items.onnx.")
    bounds: dict[Role, int | None] = {"user": max_user_bytes, "item": max_item_bytes}
    paths = {"user": user_model, "rank": rank_model, **({"item": item_model} if item_model else {})}
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise UserError("two of the models would be written to the same file", "Give each model another path.")
    writing.check(model, paths.values())
    with progress(quiet=writing.quiet) as on_progress:
        result = mari_onnx.split(
            model,
            item_inputs=item_inputs if item_model else (),
            max_bytes={role: most for role, most in bounds.items() if most is not None},
            **asked,
            verify=not writing.no_verify,
            metadata=not writing.no_metadata,
            progress=on_progress,
        )
    report, problems = result.report, list[Exception]()
    if writing.wants(report):
        models = {paths[role]: part for role, part in result.models.items()}
        with output.postponed(problems):
            save_all(result.document, models, overwrite=writing.overwrite, written=output.was_written)
            report = _written(report, paths)
    writing.hand_over(report, problems)


def _written(report: Report, paths: dict[str, Path]) -> Report:
    assert report.split is not None
    parts = tuple(
        replace(output.as_written(part, paths[part.role]), written=str(paths[part.role])) for part in report.split.parts
    )
    return replace(report, split=replace(report.split, parts=tuple(parts)), written=str(paths["rank"]))
