"""hubkit evaluate."""

from __future__ import annotations

import click

from hubkit.cli.options import allow_base_mismatch_option, base_option, data_options, json_option
from hubkit.cli.output import print_facts, print_json, quiet
from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("evaluate")
@click.argument("ref", type=REF)
@click.argument("data")
@base_option
@allow_base_mismatch_option
@data_options
@json_option
def command(
    ref: AdapterRef,
    data: str,
    base: str | None,
    allow_base_mismatch: bool,
    split: str,
    text_column: str,
    label_column: str,
    as_json: bool,
) -> None:
    """Measure an adapter on the labelled texts in DATA.

    \b
    Example:
      hubkit evaluate reviews test.csv
      hubkit evaluate reviews stanfordnlp/imdb --split test --json
    """
    with quiet():
        from hubkit.inference import load
        from hubkit.training.data import read_labelled_text
        from hubkit.training.evaluate import evaluate

        labelled = read_labelled_text(
            data, split=split, text_column=text_column, label_column=label_column
        )
        model = load(ref, base=base, allow_base_mismatch=allow_base_mismatch)
        metrics = evaluate(model, labelled)
    version = model.version
    if as_json:
        print_json(
            {
                "ref": str(version.ref),
                "dataset": labelled.name,
                "examples": len(labelled),
                "metrics": metrics,
            }
        )
        return
    click.echo(f"{version.ref} on {labelled.name}, {len(labelled)} rows")
    print_facts([(name, f"{value:.4f}") for name, value in metrics.items()])
