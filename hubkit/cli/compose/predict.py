"""hubkit predict."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import click

from hubkit.cli.options import allow_base_mismatch_option, base_option, json_option
from hubkit.cli.output import print_json, print_table, quiet
from hubkit.cli.params import REF
from hubkit.cli.texts import check_texts, read_texts, text_options
from registry.refs import AdapterRef


@click.command("predict")
@click.argument("ref", type=REF)
@text_options
@base_option
@allow_base_mismatch_option
@json_option
def command(
    ref: AdapterRef,
    texts: tuple[str, ...],
    file: str | None,
    batch_size: int,
    base: str | None,
    allow_base_mismatch: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict what an adapter says of each TEXT.

    Prints the label with its score (a probability), or the number of a text-regression, then the
    number of the row and its text. The texts are arguments, or the rows of a file or of standard
    input. An empty row keeps its place, with a dash for an answer.

    \b
    Example:
      hubkit predict reviews "What a film!" "Two hours I will not get back."
      hubkit predict reviews --file new.csv --text-column review
      hubkit predict reviews@best --file lines.txt --json
    """
    check_texts(texts, file)
    with quiet():
        from hubkit.inference import load

        model = load(ref, base=base, allow_base_mismatch=allow_base_mismatch)
        given = read_texts(model.task, texts, file, options)
        filled = given.filled()
        found = dict(
            zip(
                filled,
                model.predict([given.rows[at] for at in filled], batch_size=batch_size),
                strict=True,
            )
        )
    rows = list(enumerate(given.rows))
    if as_json:
        empty = {field.name: None for field in fields(next(iter(found.values())))}
        answers = [asdict(found[at]) if at in found else empty for at, _ in rows]
        print_json(
            [
                {"row": at + 1, **row, **answer}
                for (at, row), answer in zip(rows, answers, strict=True)
            ]
        )
        return
    header, dashes = model.task.header, ("-",) * len(model.task.header)
    print_table(
        (*header, "row", *(given.rows[0])),
        [
            (
                *(found[at].cells() if at in found else dashes),
                str(at + 1),
                *map(_shown, row.values()),
            )
            for at, row in rows
        ],
    )


def _shown(value: Any) -> str:
    return " | ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
