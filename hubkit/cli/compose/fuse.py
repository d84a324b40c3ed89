"""hubkit fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import read_job, training_options
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF
from hubkit.training.settings import FUSION_BATCH_SIZE, FUSION_LEARNING_RATE, Settings
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from registry import Version


@click.command("fuse")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@click.option("--data", required=True, help="Labelled texts: a file, or the id of a data set.")
@click.option("--task", help="What the fusion does; default: what all the adapters do.")
@training_options(Settings(learning_rate=FUSION_LEARNING_RATE, batch_size=FUSION_BATCH_SIZE))
def command(
    refs: tuple[AdapterRef, ...],
    data: str,
    task: str | None,
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
    # Checked before the rest is loaded, which takes seconds: a slip is told at once.
    chosen = choose(catalog, refs, Fuse)
    task = task or _common_task(refs, [version for version, _ in chosen])
    with quiet():
        job = read_job(data, name, task, **options)
        from hubkit.training.train import train_fusion

        version = train_fusion(catalog, job, refs=chosen)
    print_published(version, as_json=as_json, then=f'hubkit predict {version.ref} "some text"')


def _common_task(refs: Sequence[AdapterRef], versions: Sequence[Version]) -> str:
    tasks = {ref: version.task for ref, version in zip(refs, versions, strict=True)}
    task = next(iter(tasks.values()))
    if task is None or len(set(tasks.values())) > 1:
        listed = ", ".join(f"{ref}: {found or 'none'}" for ref, found in tasks.items())
        raise click.UsageError(
            f"The adapters have no task in common ({listed}); say with --task what the fusion does."
        )
    return task
