"""hubkit predict."""

from __future__ import annotations

from dataclasses import asdict
from typing import IO

import click

from hubkit.cli.options import allow_base_mismatch_option, base_option, json_option
from hubkit.cli.output import print_json, print_table, quiet
from hubkit.cli.params import REF
from hubkit.cli.texts import read_texts, text_options
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
    file: IO[str] | None,
    batch_size: int,
    base: str | None,
    allow_base_mismatch: bool,
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
    given = read_texts(texts, file)
    with quiet():
        from hubkit.inference import load

        model = load(ref, base=base, allow_base_mismatch=allow_base_mismatch)
        predictions = model.predict(given, batch_size=batch_size)
    found = zip(given, predictions, strict=True)
    if as_json:
        print_json([{"text": text, **asdict(prediction)} for text, prediction in found])
        return
    print_table(
        ("label", "score", "text"),
        [(prediction.label, f"{prediction.score:.4f}", text) for text, prediction in found],
    )
