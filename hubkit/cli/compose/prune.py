"""hubkit prune."""

from __future__ import annotations

from typing import Any

import click

from hubkit.cli.options import base_option, json_option, name_option, replace_option
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF
from hubkit.cli.texts import check_texts, read_filled, text_options
from registry.refs import AdapterRef


@click.command("prune")
@click.argument("ref", type=REF)
@text_options
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    help="The number of adapters to keep at each site.",
)
@base_option
@name_option
@replace_option
@json_option
def command(
    ref: AdapterRef,
    texts: tuple[str, ...],
    file: str | None,
    batch_size: int,
    keep: int,
    base: str | None,
    name: AdapterRef,
    replace: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Publish a fusion over the adapters that it attends to most.

    At each site, only those stay that have the highest mean weight over the texts. Nothing is
    trained, and the fusion becomes faster.

    \b
    Example:
      hubkit prune all-round --file lines.txt --keep 2 --name all-round-2
    """
    check_texts(texts, file)
    with quiet():
        from hubkit.composing.prune import publish_pruned
        from hubkit.tasks.table import task_type
        from registry import open_catalog

        catalog = open_catalog()
        pruned = catalog.resolve(ref)
        task = task_type(pruned.task_type, str(pruned.ref))
        rows = read_filled(task, catalog.manifest(pruned).text, texts, file, options)
        version = publish_pruned(
            catalog,
            name,
            pruned.ref,
            rows,
            keep,
            base=base,
            batch_size=batch_size,
            replace_name=replace,
        )
    print_published(version, as_json=as_json)
