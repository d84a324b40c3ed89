"""hubkit fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from hubkit.cli.options import read_job, training_options
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF, Number
from hubkit.training.settings import FUSION_BATCH_SIZE, FUSION_LEARNING_RATE, Settings
from registry.refs import AdapterRef

_OPTIONS = ("shared", "value", "value_init", "regularization", "temperature")
"""The options that are passed on to the fusion."""


@click.command("fuse")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@click.option("--data", required=True, help="Labelled texts: a file, or the id of a data set.")
@click.option("--task", help="What the fusion does; default: what all the adapters do.")
@click.option(
    "--shared", is_flag=True, help="Learn one attention for all layers, not one for each."
)
@click.option(
    "--value/--no-value",
    default=True,
    show_default=True,
    help="Learn value matrices (AdapterHub's dynamic fusion), or none (static).",
)
@click.option(
    "--value-init",
    type=click.Choice(["identity", "random"]),
    default="identity",
    show_default=True,
    help="How value matrices start.",
)
@click.option(
    "--regularization",
    type=Number(min=0),
    default=0.01,
    show_default=True,
    help="What the distance of value matrices from the identity counts in the loss.",
)
@click.option(
    "--temperature",
    type=Number(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="What scores are divided by: above 1, attention is more even.",
)
@training_options(Settings(learning_rate=FUSION_LEARNING_RATE, batch_size=FUSION_BATCH_SIZE))
def command(
    refs: tuple[AdapterRef, ...],
    data: str,
    task: str | None,
    task_type: str | None,
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
    """
    from hubkit.composing.combine import choose
    from hubkit.composition import Fuse
    from registry import open_catalog

    how = _changed({key: options.pop(key) for key in _OPTIONS})
    catalog = open_catalog()
    # Fail early: the imports below take seconds.
    chosen = choose(catalog, refs, Fuse)
    versions = [version for version, _ in chosen]
    task = task or _common("task", refs, [version.task for version in versions])
    task_type = task_type or _common("task type", refs, [one.task_type for one in versions])
    with quiet():
        job = read_job(data, name, task, task_type=task_type, **options)
        from hubkit.training.train import train_fusion

        version = train_fusion(catalog, job, refs=chosen, **how)
    print_published(version, as_json=as_json, then=f'hubkit predict {version.ref} "some text"')


def _changed(options: dict[str, Any]) -> dict[str, Any]:
    """Those with another value than a run has by itself, so that its record says no more.

    Raises:
        UsageError: One of them has nothing to act on.
    """
    defaults = {one.name: one.default for one in command.params}
    changed = {name: value for name, value in options.items() if value != defaults[name]}
    if not options["value"]:
        for name in changed.keys() & {"value_init", "regularization"}:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is about value matrices, and --no-value leaves them "
                "out."
            )
    return changed


def _common(fact: str, refs: Sequence[AdapterRef], values: Sequence[str | None]) -> str:
    """What all adapters have.

    Raises:
        UsageError: They do not agree, or have none.
    """
    first = values[0]
    if first is None or len(set(values)) > 1:
        listed = ", ".join(
            f"{ref}: {value or 'none'}" for ref, value in zip(refs, values, strict=True)
        )
        option = f"--{fact.replace(' ', '-')}"
        raise click.UsageError(
            f"The adapters have no {fact} in common ({listed}); say with {option} what the fusion "
            "is to have."
        )
    return first
