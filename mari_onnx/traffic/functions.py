"""The public functions on recorded traffic: `replay` and `precompute`. The command line calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from mari_onnx.arguments import names
from mari_onnx.budget import Limits, current, within
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.pipeline import Progress
from mari_onnx.report.model import Report
from mari_onnx.results import Optimized, model_of
from mari_onnx.traffic.options import OptionFields, Options, Place, Precomputing, PrecomputingFields
from mari_onnx.two_models import Called, parts_of


class ReplayFields(OptionFields, Limits, total=False):
    """The options of `replay` as keywords."""


def replay(
    reference: ModelLike,
    optimized: ModelLike | Optimized,
    *,
    requests: str | Sequence[str],
    request_id: str,
    user_inputs: str | Sequence[str] = (),
    request_index: str | None = None,
    request_key: str | Sequence[str] = (),
    user_model: ModelLike | None = None,
    item_model: ModelLike | None = None,
    progress: Progress | None = None,
    **options: Unpack[ReplayFields],
) -> Report:
    """Whether two models make the same predictions on recorded requests: `report.replay`, and `report.verification` of
    the worst of them.

    `requests` are patterns over Parquet files, such as "logs/date=*/*.parquet", or addresses that fsspec opens, and
    `request_id` is their column of the ids of requests. The rows with one id, which follow each other, are one call. A
    row is a candidate, or it is a request whose candidates are in lists. `optimized` may be the ranking model of a
    split, together with its `user_model` and `item_model`. Needs pyarrow: `mari-onnx[traffic]`.

    The user's rows have to be identical within a request, or, where a call mixes users, among rows with the same values
    of the inputs `request_key`. Requests in which they are not are counted by input and not compared, and the replay
    does not pass.

    These arguments are keywords, too:

        columns             a TOML file that says which column is which input; see `mari_onnx.traffic.columns`
        sort                whether the logs are sorted first, because rows of a request do not follow each other
        sample              the share of requests that are replayed, drawn by their ids
        engine, workers,    where row groups are replayed: "local", in as many processes as there are cores, each
        threads             session with one thread; "ray" or "dask"
        rtol, atol          as for `verify`
        worst               a path: the worst requests are written there, as .jsonl, for the `inputs` of `verify`
        journal, resume     a path: what has ended is written down there, and an interrupted replay goes on from it
        timeout, max_memory  the seconds in which some row group has to end (300), and the gigabytes of a process (8)

    Raises UserError as `verify` does, also for models that are not those of one split, and for files, columns and
    values that cannot be used, with their names.
    """
    from mari_onnx.traffic.replay import replay as found

    given: dict[str, Any] = dict(options)
    limits = {name: given.pop(name) for name in ("timeout", "max_memory") if name in given}
    settings = Options(requests=names("requests", requests), request_id=request_id, **given)
    called = Called(names("user_inputs", user_inputs), request_index, names("request_key", request_key))
    with within(**limits):
        parts = parts_of(model_of(optimized), user_model=user_model, item_model=item_model)
        return replace(found(reference, parts, called, settings, progress), seconds=current().spent)


def write_column_map(document: Document, requests: Path, path: Path) -> None:
    """Write the column map for a file of recorded requests, for `mari_onnx.inputs`. Raises UserError as that does."""
    from mari_onnx.traffic.guess import write_map
    from mari_onnx.traffic.layout import inputs_of_model

    write_map(path, inputs_of_model(document), requests)


class PrecomputeFields(PrecomputingFields, Limits, total=False):
    """The options of `precompute` as keywords."""


def precompute(
    part: ModelLike,
    *,
    table: str | Sequence[str],
    out: Place,
    progress: Progress | None = None,
    **options: Unpack[PrecomputeFields],
) -> Report:
    """Run a model, such as the item model of a split, over a table: `report.precomputed`.

    `table` are patterns over Parquet files with a column for each input, and a row for each item. `out` is a folder, in
    which each row group becomes a Parquet file with the key of each row and a list of numbers for each output. A
    second call computes only what is missing. Needs pyarrow: `mari-onnx[traffic]`.

    These arguments are keywords, too:

        key                 the column that tells rows apart; the only one of ids that the model takes
        columns             a TOML file that says which column is which input; see `mari_onnx.traffic.columns`
        engine, workers,    where row groups are computed: "local", in as many processes as there are cores, each
        threads             session with one thread; "ray" or "dask"
        overwrite           whether parts of another model or table are removed from the folder
        timeout, max_memory  the seconds in which some row group has to end (300), and the gigabytes of a process (8)

    Raises UserError for a model, files, columns and values that cannot be used, with their names. What was written
    before that is whole, and is not computed again.
    """
    from mari_onnx.traffic.precompute import precompute as made

    given: dict[str, Any] = dict(options)
    limits = {name: given.pop(name) for name in ("timeout", "max_memory") if name in given}
    settings = Precomputing(table=names("table", table), out=out, **given)
    with within(**limits):
        return replace(made(part, settings, progress), seconds=current().spent)
