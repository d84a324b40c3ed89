"""hubkit predict."""

from __future__ import annotations

from dataclasses import asdict
from typing import IO

import click

from hubkit.cli.options import allow_base_mismatch_option, base_option, json_option
from hubkit.cli.output import print_json, print_table, quiet
from hubkit.cli.params import REF
from registry.errors import DataError
from registry.refs import AdapterRef


@click.command("predict")
@click.argument("ref", type=REF)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--file",
    type=click.File(encoding="utf-8"),
    help="Read the texts from a file, one a line; - for standard input.",
)
@base_option
@allow_base_mismatch_option
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Texts at a time.",
)
@json_option
def command(
    ref: AdapterRef,
    texts: tuple[str, ...],
    file: IO[str] | None,
    base: str | None,
    allow_base_mismatch: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Predict the label of each TEXT.

    Prints the label, its score (a probability) and the text. The texts are arguments, or the
    lines of a file or of standard input; empty lines are left out.

    \b
    Example:
      hubkit predict reviews "What a film!" "Two hours I will not get back."
      hubkit predict reviews@best --file lines.txt --json
    """
    if texts == ("-",) and file is None:
        texts, file = (), click.open_file("-", encoding="utf-8")
    if "-" in texts or any(not text.strip() for text in texts):
        raise click.UsageError("A text is empty, or - stands beside others.")
    if bool(texts) == (file is not None):
        raise click.UsageError("Give the texts as arguments, or with --file; - is standard input.")
    if file is not None:
        texts = _lines(file)
    with quiet():
        from hubkit.inference import load

        predictions = load(ref, base=base, allow_base_mismatch=allow_base_mismatch).predict(
            texts, batch_size=batch_size
        )
    found = zip(texts, predictions, strict=True)
    if as_json:
        print_json([{"text": text, **asdict(prediction)} for text, prediction in found])
        return
    print_table(
        ("label", "score", "text"),
        [(prediction.label, f"{prediction.score:.4f}", text) for text, prediction in found],
    )


def _lines(file: IO[str]) -> tuple[str, ...]:
    try:
        lines = tuple(line.strip() for line in file if line.strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name} is not UTF-8 text: {error}.", file.name) from error
    if not lines:
        raise DataError(f"{file.name} holds no text: expected one on each line.", file.name)
    return lines
