"""hubkit train."""

from __future__ import annotations

from typing import Any

import click

from hubkit.cli.options import read_job, training_options
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF, Number
from hubkit.methods.table import METHODS
from hubkit.training.settings import ADAPTER_LEARNING_RATE, Settings
from registry.refs import AdapterRef

_PARAMETERS = (
    *("bottleneck_size", "activation", "rank", "alpha"),
    *("target_modules", "dropout", "leave_out"),
)
"""The options that are passed on to the method."""


@click.command("train")
@click.argument("data")
@click.option("--base", required=True, help="Base model: a folder, or a hub id.")
@click.option("--task", required=True, help="What the adapter does, such as sentiment.")
@click.option(
    "--method", type=click.Choice([*METHODS]), default="seq_bn", show_default=True, help="Adapter."
)
@click.option(
    "--bottleneck-size",
    type=click.IntRange(min=1),
    help="Width of a bottleneck; default: hidden size / 16 (par_bn: / 2).",
)
@click.option("--activation", help="Of a bottleneck; default: relu (double_seq_bn: swish).")
@click.option("--rank", type=click.IntRange(min=1), help="Of LoRA; default: 8.")
@click.option(
    "--alpha", type=Number(), help="Of LoRA, which is scaled by alpha / rank; default: 8."
)
@click.option(
    "--target-module",
    "target_modules",
    multiple=True,
    help="End of the names of the linear layers for LoRA; repeatable; default: query and value.",
)
@click.option(
    "--dropout",
    type=Number(0, 1, max_open=True),
    help="Of the adapter, while it is trained; default: none.",
)
@click.option(
    "--leave-out",
    type=click.IntRange(min=0),
    multiple=True,
    help="Number of a layer that gets no adapter, from 0; repeatable.",
)
@click.option(
    "--over",
    type=REF,
    help="Published adapter to train it over, such as one for a language; it stays frozen.",
)
@training_options(Settings(learning_rate=ADAPTER_LEARNING_RATE), "text-classification")
def command(
    data: str,
    base: str,
    task: str,
    method: str,
    over: AdapterRef | None,
    name: AdapterRef,
    as_json: bool,
    **options: Any,
) -> None:
    """Train an adapter on DATA for a frozen base, and publish it.

    DATA is a .csv, .json, .jsonl or .parquet file with a text and a label column, or the id of a
    data set. A run that was broken off goes on when the same command is given again.

    \b
    Example:
      hubkit train reviews.csv --base bert-base-uncased --task sentiment --name reviews
      hubkit train news.conll --base xlm-roberta-base --task ner --over english --name news
    """
    parameters = {key: options.pop(key) for key in _PARAMETERS}
    with quiet():
        # Read before the rest is loaded, which takes seconds: a slip is told at once.
        job = read_job(data, name, task, **options)
        from hubkit.training.train import train_adapter
        from registry import open_catalog

        version = train_adapter(
            open_catalog(),
            job,
            base=base,
            method=method,
            over=over,
            **{key: value for key, value in parameters.items() if value not in (None, ())},
        )
    print_published(version, as_json=as_json, then=f'hubkit predict {version.ref} "some text"')
