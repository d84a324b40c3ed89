"""hubkit prune."""

from __future__ import annotations

from typing import IO

import click

from hubkit.cli.options import base_option, json_option, name_option
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF
from hubkit.cli.texts import read_texts, text_options
from registry.refs import AdapterRef


@click.command("prune")
@click.argument("ref", type=REF)
@text_options
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    help="How many adapters to keep at each site.",
)
@base_option
@name_option
@json_option
def command(
    ref: AdapterRef,
    texts: tuple[str, ...],
    file: IO[str] | None,
    batch_size: int,
    keep: int,
    base: str | None,
    name: AdapterRef,
    as_json: bool,
) -> None:
    """Publish a fusion over the adapters that it attends to most.

    At each site, only those stay that have the highest mean weight over the texts. Nothing is
    trained, and the fusion becomes faster.

    \b
    Example:
      hubkit prune all-round --file lines.txt --keep 2 --name all-round-2
    """
    given = read_texts(texts, file)
    with quiet():
        from hubkit.composing.prune import publish_pruned
        from registry import open_catalog

        version = publish_pruned(
            open_catalog(), name, ref, given, keep, base=base, batch_size=batch_size
        )
    print_published(version, as_json=as_json, then=f'hubkit predict {version.ref} "some text"')
