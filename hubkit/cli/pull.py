"""hubkit pull."""

from __future__ import annotations

from pathlib import Path

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_published
from hubkit.cli.params import NAME, REF
from registry.refs import AdapterRef


@click.command("pull")
@click.argument("ref", type=REF)
@click.option(
    "--from",
    "source",
    required=True,
    metavar="FOLDER",
    help="The other registry: the folder that is its HUBKIT_HOME.",
)
@click.option("--name", type=NAME, help="What to call it here; default: as it is called there.")
@json_option
def command(ref: AdapterRef, source: str, name: AdapterRef | None, as_json: bool) -> None:
    """Copy an adapter, and all it is made of, from another registry.

    Every byte is checked against its digest. Giving the command again changes nothing.

    \b
    Example:
      hubkit pull reviews@best --from /shared/hubkit
    """
    from registry import open_catalog

    if "://" in source:
        raise click.BadParameter(
            f"{source} is a URL; hubkit pulls from a registry's folder.", param_hint="--from"
        )
    version = open_catalog().pull(ref, open_catalog(Path(source), create=False), name=name)
    print_published(version, as_json=as_json, then=f"hubkit show {version.ref}")
