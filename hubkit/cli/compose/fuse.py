"""hubkit fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from hubkit.cli.options import read_job, training_options
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF
from hubkit.training.settings import FUSION_BATCH_SIZE, FUSION_LEARNING_RATE, Settings
from registry.refs import AdapterRef


@click.command("fuse")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@click.option("--data", required=True, help="Labelled texts: a file, or the id of a data set.")
@click.option("--task", help="What the fusion does; default: what all the adapters do.")
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
    """
    from hubkit.composing.combine import choose
    from hubkit.composition import Fuse
    from registry import open_catalog

    catalog = open_catalog()
    # Fail early: the imports below take seconds.
    chosen = choose(catalog, refs, Fuse)
    versions = [version for version, _ in chosen]
    task = task or _common("task", refs, [version.task for version in versions])
    task_type = task_type or _common("task type", refs, [one.task_type for one in versions])
    with quiet():
        job = read_job(data, name, task, task_type=task_type, **options)
        from hubkit.training.train import train_fusion

        version = train_fusion(catalog, job, refs=chosen)
    print_published(version, as_json=as_json, then=f'hubkit predict {version.ref} "some text"')


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
