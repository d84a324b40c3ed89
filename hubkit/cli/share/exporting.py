"""hubkit export."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click

from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("export")
@click.argument("ref", type=REF)
def command(ref: AdapterRef) -> None:
    """Write a version, and all it is made of, to standard output.

    That is a bundle, to carry to a machine that no network reaches. It is a tar archive, so `tar
    tvf` lists what is in it. `hubkit import` reads it.

    \b
    Example:
      hubkit export reviews@2 > reviews.bundle
    """
    from registry import open_catalog
    from registry.maintenance.bundle import export_bundle

    output: BinaryIO = sys.stdout.buffer
    if output.isatty():
        raise click.UsageError("A bundle is not for a terminal: add > FILE.")
    version = export_bundle(open_catalog(create=False), ref, output)
    click.echo(f"{version.ref} is exported.", err=True)
