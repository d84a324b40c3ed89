"""hubkit evaluate."""

from __future__ import annotations

from typing import Any

import click

from hubkit.cli.options import (
    allow_base_mismatch_option,
    base_option,
    data_options,
    json_option,
    reading,
)
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
    as_json: bool,
    **options: Any,
) -> None:
    """Measure an adapter on the rows in DATA.

    \b
    Example:
      hubkit evaluate reviews test.csv
      hubkit evaluate reviews stanfordnlp/imdb --split test --json
    """
    with quiet():
        from hubkit.inference import load
        from hubkit.tasks.table import task_type
        from hubkit.training.data import read_rows
        from hubkit.training.evaluate import evaluate
        from registry import open_catalog

        # Fail early: the rows are read before the model, which takes seconds.
        catalog = open_catalog()
        version = catalog.resolve(ref)
        task = task_type(version.task_type, str(version.ref))
        rows = read_rows(task, data, **reading(task, options))
        model = load(
            version.ref, base=base, allow_base_mismatch=allow_base_mismatch, catalog=catalog
        )
        metrics = evaluate(model, rows)
    if as_json:
        print_json(
            {
                "ref": str(version.ref),
                "dataset": rows.dataset,
                "examples": len(rows),
                "metrics": metrics,
            }
        )
        return
    click.echo(f"{version.ref} on {rows.name}, {len(rows)} rows")
    print_facts([(name, f"{value:.4f}") for name, value in metrics.items()])
