"""hubkit export."""

from __future__ import annotations

import sys
from pathlib import Path
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
    from registry.storage.durable import storage_errors

    output: BinaryIO = sys.stdout.buffer
    if output.isatty():
        raise click.UsageError("A bundle is not for a terminal: add > FILE.")
    with storage_errors("write the bundle to", Path("standard output")):
        version = export_bundle(open_catalog(create=False), ref, output)
    click.echo(f"{version.ref} is exported.", err=True)
