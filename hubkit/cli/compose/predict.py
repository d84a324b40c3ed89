"""hubkit predict."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, TextIO

import click

from hubkit.cli.options import allow_base_mismatch_option, base_option, json_option, reading
from hubkit.cli.output import one_line, print_table, quiet
from hubkit.cli.params import REF, Number
from hubkit.cli.texts import check_texts, read_blocks, text_options
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from hubkit.predicting.answers import Answer, Predictor


_AS_JSON = {"True": "true", "False": "false", "None": "null"}
"""What Python and the documents of the options call the values of JSON."""


def _options(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not (name and equals) or name in found:
            raise click.BadParameter(f"{value!r}: expected NAME=VALUE, once for each name.")
        try:
            found[name.replace("-", "_")] = json.loads(_AS_JSON.get(text, text))
        except ValueError:
            found[name.replace("-", "_")] = text
    return found


@click.command("predict")
@click.argument("ref", type=REF)
@text_options
@click.option(
    "--each",
    metavar="COLUMN",
    help="Answer each row of a table by the adapter REF-VALUE of its value in this column, as "
    "`hubkit train --each` names them; all run in one pass.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Write to a .csv, .jsonl or .parquet file; an interrupted run is resumed.",
)
@click.option(
    "--engine",
    type=click.Choice(["ray"]),
    help="What computes the rows of --out: Ray Data, on this machine or on the cluster that "
    "RAY_ADDRESS names; default: this process.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="With --engine ray: how many models compute at a time; default: one for each GPU, or else "
    "for each processor core.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Number of best answers to give.")
@click.option("--threshold", type=Number(0, 1), help="Probability from which a label holds.")
@click.option(
    "--option",
    "own",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_options,
    help="Another option of the task type, such as num_beams=4; repeatable.",
)
@click.option(
    "--max-length", type=click.IntRange(min=1), help="Tokens of a row; default: as in training."
)
@click.option("--device", metavar="DEVICE", help="Such as cpu or cuda:1; default: a GPU, if any.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Of the base model; default: as it is stored.",
)
@click.option("--compile", is_flag=True, help="Compile the model: slow to start, then faster.")
@base_option
@allow_base_mismatch_option
@json_option
def command(
    ref: AdapterRef,
    texts: tuple[str, ...],
    file: str | None,
    each: str | None,
    out: Path | None,
    engine: str | None,
    workers: int | None,
    batch_size: int,
    max_length: int | None,
    top_k: int | None,
    threshold: float | None,
    own: dict[str, Any],
    as_json: bool,
    base: str | None,
    allow_base_mismatch: bool,
    device: str | None,
    dtype: str | None,
    compile: bool,
    **columns: Any,
) -> None:
    """Predict the answer of an adapter for each TEXT.

    Prints the answer, such as a label with its score (a probability), then the number of the row
    and what was given. The texts are arguments, the rows of a file, or the lines of standard input,
    which are answered as they come. An empty row keeps its place, with a dash for an answer. If a
    row has several columns, a text is a JSON object with a value for each.

    \b
    Example:
      hubkit predict reviews "What a film!" "Two hours I will not get back."
      hubkit predict reviews --file new.csv --text-column review --out answers.csv
      hubkit predict reviews@best --file lines.txt --top-k 3 --json
      hubkit predict team/user --each user --file ratings.csv --out answers.csv
      hubkit predict reviews --file 's3://bucket/rows/*.parquet' --out answers.parquet --engine ray
    """
    check_texts(texts, file)
    if each is not None and file in (None, "-"):
        raise click.UsageError("--each goes with --file FILE, a table with that column.")
    if each is not None and compile:
        raise click.UsageError(
            "--each goes without --compile: the rows of a batch have adapters of their own, and "
            "torch would compile the model anew for each mix of them."
        )
    if out is not None:
        _check_out(out, file, as_json)
    if engine is not None:
        from hubkit.predicting.with_ray import require_ray

        require_ray()
    if engine is not None and out is None:
        raise click.UsageError("--engine goes with --out OUT.")
    if workers is not None and engine is None:
        raise click.UsageError("--workers goes with --engine ray.")
    options = own | {
        name: value
        for name, value in (("top_k", top_k), ("threshold", threshold))
        if value is not None
    }
    how: dict[str, Any] = {"batch_size": batch_size, "max_length": max_length}
    stdout = sys.stdout
    with quiet():
        load: Callable[..., Predictor]
        if each is not None:
            from hubkit.predicting.each import load_each, versions_of

            written = {name: columns[name] for name in ("separator", "encoding")}
            load = partial(load_each, versions_of(ref, str(file), each, **written), each)
        else:
            from hubkit import inference
            from registry import open_catalog

            # For each worker the same version.
            load = partial(inference.load, open_catalog().resolve(ref).ref, compile=compile)
        load = partial(load, base=base, allow_base_mismatch=allow_base_mismatch, dtype=dtype)
        # What workers compute, this process only looks at.
        model = load(device=device if engine is None else "cpu")
        if out is not None:
            from hubkit.predicting.predict_file import predict_file

            where = reading(model.task, columns)
            if engine is not None:
                from hubkit.predicting.with_ray import RayEngine

                where["engine"] = RayEngine(partial(load, device=device), workers)
            rows = predict_file(model, str(file), out, options=options, **how, **where)
            click.echo(f"{out}: {rows} rows", file=stdout)
            return
        from hubkit.predicting.answers import answered

        name, given = read_blocks(model.task, model.text, texts, file, columns, each)
        if each is not None:
            given = iter([*given])  # each row has an adapter, or none is answered
        blocks = answered(model, given, source=name, **how, **options)
        lines = not stdout.isatty() or name == "standard input"
        if as_json:
            _print_document(blocks, stdout)
        elif lines:
            for answer in (answer for block in blocks for answer in block):
                click.echo("\t".join(map(one_line, _cells(model, answer))), file=stdout)
        else:
            answers = [answer for block in blocks for answer in block]
    if not as_json and not lines:
        header = (*model.task.header, "row", *answers[0].row)
        print_table(header, [_cells(model, answer) for answer in answers])


def _check_out(out: Path, file: str | None, as_json: bool) -> None:
    """Fail early: loading a model takes seconds."""
    from hubkit.predicting.predict_file import check_output

    if file in (None, "-"):
        raise click.UsageError("--out goes with --file FILE, so that a run can be resumed.")
    if as_json:
        raise click.UsageError("--json prints; a file of JSON is --out NAME.jsonl.")
    check_output(out)


def _cells(model: Predictor, answer: Answer) -> list[str]:
    found = answer.prediction
    answers = ("-",) * len(model.task.header) if found is None else found.cells()
    return [*answers, str(answer.number), *map(_shown, answer.row.values())]


def _shown(value: Any) -> str:
    """A value of a row: a text as it is, words with spaces between, the rest as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    words = isinstance(value, list) and all(
        isinstance(one, str) and len(one.split()) == 1 for one in value
    )
    return " ".join(value) if words else json.dumps(value, ensure_ascii=False)


def _print_document(blocks: Iterable[list[Answer]], stdout: TextIO) -> None:
    """One JSON list, row by row as they come."""
    before = "[\n"
    for record in _records(blocks):
        click.echo(before + indent(json.dumps(record, indent=2), "  "), nl=False, file=stdout)
        before = ",\n"
    click.echo("\n]", file=stdout)


def _records(blocks: Iterable[list[Answer]]) -> Iterator[dict[str, Any]]:
    from hubkit.predicting.answers import with_kind

    for answers, kind in with_kind(blocks):
        for answer in answers:
            yield answer.record(kind)
