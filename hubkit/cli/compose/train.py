"""hubkit train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.jobs import read_job, read_jobs
from hubkit.cli.options import drop_layers_option, training_options
from hubkit.cli.output import print_json, print_published, print_table, quiet, version_json
from hubkit.cli.params import REF, Number
from hubkit.methods.table import METHODS
from hubkit.training.settings import ADAPTER_LEARNING_RATE, Settings
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from registry import Version

_PARAMETERS = (
    *("bottleneck_size", "activation", "rank", "alpha"),
    *("target_modules", "dropout", "leave_out"),
)
"""The options that are passed on to the method."""


@click.command("train")
@click.argument("data")
@click.option("--base", required=True, help="Base model: a folder, or a hub id.")
@click.option("--task", required=True, help="The task of the adapter, such as sentiment.")
@click.option(
    "--method", type=click.Choice([*METHODS]), default="seq_bn", show_default=True, help="Adapter."
)
@click.option(
    "--bottleneck-size",
    type=click.IntRange(min=1),
    help="Width of a bottleneck; default: hidden size / 16 (par_bn: / 2).",
)
@click.option(
    "--activation", help="Activation of a bottleneck; default: relu (double_seq_bn: swish)."
)
@click.option("--rank", type=click.IntRange(min=1), help="Rank of a LoRA; default: 8.")
@click.option(
    "--alpha",
    type=Number(min=0, min_open=True),
    help="A LoRA is scaled by alpha / rank; default: 8.",
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
    help="Dropout in the adapter during training; default: none.",
)
@drop_layers_option
@click.option(
    "--over",
    type=REF,
    help="Published adapter to train it over, such as one for a language; it stays frozen.",
)
@click.option(
    "--each",
    metavar="COLUMN",
    help="Train an adapter for each value of this column, such as user, all in one run; they are "
    "called NAME-VALUE; `hubkit predict --each` answers rows with them.",
)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    help="With --each: the most adapters in one pass, with a batch of each; default: 8.",
)
@click.option(
    "--skip-unfit",
    is_flag=True,
    help="With --each: leave out adapters with too few rows; default: train none.",
)
@training_options(Settings(learning_rate=ADAPTER_LEARNING_RATE), "text-classification")
def command(
    data: str,
    base: str,
    task: str,
    method: str,
    over: AdapterRef | None,
    each: str | None,
    together: int | None,
    skip_unfit: bool,
    name: AdapterRef,
    as_json: bool,
    **options: Any,
) -> None:
    """Train an adapter on DATA for a frozen base, and publish it.

    DATA is a .csv, .tsv, .json, .jsonl or .parquet file with the columns of the task type, such as
    a text and a label; a .conll file of tagged tokens, a .json file in SQuAD's form, or a .txt file
    with a text in each line, if the task type reads these; or the id of a data set. The same
    command resumes an interrupted run.

    \b
    Example:
      hubkit train reviews.csv --base bert-base-uncased --task sentiment --name reviews
      hubkit train news.conll --base xlm-roberta-base --task ner --over english --name news
      hubkit train ratings.csv --base bert-base-uncased --task liking --each user --name team/user
    """
    given = {key: options.pop(key) for key in _PARAMETERS}
    how: dict[str, Any] = {"base": base, "method": method, "over": over}
    how |= {key: value for key, value in given.items() if value not in (None, ())}
    if each is None:
        if together is not None or skip_unfit:
            raise click.UsageError("--together and --skip-unfit are for --each.")
        version = _train(data, name, task, options, how)
        print_published(version, as_json=as_json)
        return
    how |= {"skip_unfit": skip_unfit} | ({} if together is None else {"together": together})
    versions = _train_each(data, name, task, {**options, "each": each}, how)
    if as_json:
        print_json([version_json(version) for version in versions])
        return
    measured = [{one.name: f"{one.value:.4f}" for one in version.metrics} for version in versions]
    names = list(dict.fromkeys(name for found in measured for name in found))
    print_table(
        ("adapter", *names),
        [
            (str(version.ref), *(found.get(name, "-") for name in names))
            for version, found in zip(versions, measured, strict=True)
        ],
    )


def _train(
    data: str, name: AdapterRef, task: str, options: dict[str, Any], how: dict[str, Any]
) -> Version:
    with quiet():
        # Fail early: the imports below take seconds.
        job = read_job(data, name, task, **options)
        from hubkit.training.train import train_adapter
        from registry import open_catalog

        return train_adapter(open_catalog(), job, **how)


def _train_each(
    data: str, prefix: AdapterRef, task: str, options: dict[str, Any], how: dict[str, Any]
) -> list[Version]:
    with quiet():
        jobs = read_jobs(data, prefix, task, **options)
        from hubkit.training.each.train_each import train_each
        from registry import open_catalog

        return train_each(open_catalog(), jobs, **how)
