"""hubkit pull."""

from __future__ import annotations

import click

from hubkit.cli.options import allow_base_mismatch_option, json_option
from hubkit.cli.output import print_published
from hubkit.cli.params import NAME
from registry.refs import AdapterRef


@click.command("pull")
@click.argument("ref", metavar="REF")
@click.option(
    "--from",
    "source",
    metavar="URL|FOLDER",
    help="A hub, or the HUBKIT_HOME of another registry; default: huggingface.co.",
)
@click.option("--name", type=NAME, help="Its name here; default: its name there.")
@click.option(
    "--base",
    metavar="BASE",
    help="The base model to run it on: a folder or a hub id. Its weights are checked.",
)
@allow_base_mismatch_option
@json_option
def command(
    ref: str,
    source: str | None,
    name: AdapterRef | None,
    base: str | None,
    allow_base_mismatch: bool,
    as_json: bool,
) -> None:
    """Copy an adapter and its parts from a hub or another registry.

    Every byte is checked against its digest. Giving the command again changes nothing. A
    repository on a hub may be one that hubkit, PEFT or AdapterHub made. REF may say where it is:
    hf:OWNER/NAME@REVISION.

    \b
    Example:
      hubkit pull ada/reviews@2
      hubkit pull hf:ada/reviews@main --name reviews
      hubkit pull reviews@best --from /shared/hubkit
    """
    from hubkit.sharing.pull import pull
    from registry import open_catalog

    version = pull(
        open_catalog(),
        ref,
        source,
        name=name,
        base=base,
        allow_base_mismatch=allow_base_mismatch,
    )
    print_published(version, as_json=as_json, then=f"hubkit show {version.ref}")
