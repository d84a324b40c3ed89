"""hubkit fuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import drop_layers_option, in_common, read_job, training_options
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF, Number
from hubkit.training.settings import FUSION_BATCH_SIZE, FUSION_LEARNING_RATE, Settings
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from hubkit.training.fusing.own import Own

_OPTIONS: dict[str, Any] = {
    "shared": False,
    "value": True,
    "value_init": "identity",
    "regularization": 0.01,
    "temperature": 1.0,
}
"""The options that are passed on to the fusion where they are other than these."""


@click.command("fuse")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@click.option("--data", required=True, help="Labelled texts: a file, or the id of a data set.")
@click.option("--task", help="What the fusion does; default: what all the adapters do.")
@click.option(
    "--own",
    type=click.Choice(["none", "before", "apart", "joint"]),
    default="none",
    show_default=True,
    help="Fuse an adapter for the data itself, too, as NAME-own: trained before, on the same rows; "
    "apart, on one half of them, and the fusion on the other; or joint, with the fusion.",
)
@click.option(
    "--shared", is_flag=True, help="Learn one attention for all layers, not one for each."
)
@click.option(
    "--value/--no-value",
    default=_OPTIONS["value"],
    show_default=True,
    help="Learn value matrices (AdapterHub's dynamic fusion), or none (static).",
)
@click.option(
    "--value-init",
    type=click.Choice(["identity", "random"]),
    default=_OPTIONS["value_init"],
    show_default=True,
    help="How value matrices start.",
)
@click.option(
    "--regularization",
    type=Number(min=0),
    default=_OPTIONS["regularization"],
    show_default=True,
    help="What the distance of value matrices from the identity counts in the loss.",
)
@click.option(
    "--temperature",
    type=Number(min=0, min_open=True),
    default=_OPTIONS["temperature"],
    show_default=True,
    help="What scores are divided by: above 1, attention is more even.",
)
@drop_layers_option
@training_options(Settings(learning_rate=FUSION_LEARNING_RATE, batch_size=FUSION_BATCH_SIZE))
def command(
    refs: tuple[AdapterRef, ...],
    data: str,
    task: str | None,
    task_type: str | None,
    leave_out: tuple[int, ...] | None,
    own: Own,
    name: AdapterRef,
    as_json: bool,
    **options: Any,
) -> None:
    """Train AdapterFusion over published adapters, and publish it.

    The base model and the adapters stay as they are; what is trained is the attention over them,
    and a new head. A run that was broken off goes on when the same command is given again.

    \b
    Example:
      hubkit fuse reviews tweets@2 --data mixed.csv --name all-round
      hubkit fuse reviews tweets news --data few.csv --shared --no-value --name small
      hubkit fuse reviews tweets --data mixed.csv --own apart --name all-round
    """
    from hubkit.composing.combine import choose
    from hubkit.composition import Fuse
    from registry import open_catalog

    how = {key: value for key, usual in _OPTIONS.items() if (value := options.pop(key)) != usual}
    of_values = how.keys() & {"value_init", "regularization"}
    if "value" in how and of_values:
        raise click.UsageError(
            f"--{min(of_values).replace('_', '-')} is about value matrices, and --no-value leaves "
            "them out."
        )
    catalog = open_catalog()
    # Fail early: the imports below take seconds.
    chosen = choose(catalog, refs, Fuse)
    versions = [version for version, _ in chosen]
    task = task or in_common("task", refs, [version.task for version in versions])
    task_type = task_type or in_common("task type", refs, [one.task_type for one in versions])
    with quiet():
        job = read_job(data, name, task, task_type=task_type, **options)
        from hubkit.training.train import train_fusion

        version = train_fusion(catalog, job, refs=chosen, leave_out=leave_out or (), own=own, **how)
    print_published(version, as_json=as_json, then=f'hubkit predict {version.ref} "some text"')
