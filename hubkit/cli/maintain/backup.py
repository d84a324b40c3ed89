"""hubkit backup."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, printable, progress_bar, size


@click.command("backup")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Copy the registry to FOLDER while it is used.

    FOLDER may hold an earlier backup of this registry: then only what is new is copied. It is a
    registry itself, from which `hubkit pull --from` works, too. Every byte is checked on the way;
    if something is damaged, the rest is copied, and the exit status is 1.

    \b
    Example:
      hubkit backup /backups/hubkit
    """
    from dataclasses import asdict

    from registry import open_catalog
    from registry.maintenance.backup import back_up

    catalog = open_catalog(create=False)
    with progress_bar("Copying") as progress:
        copied = back_up(catalog, folder, progress=progress)
    if as_json:
        print_json(asdict(copied))
    else:
        for problem in copied.damaged:
            click.echo(f"DAMAGED: {printable(str(problem))}")
        click.echo(f"{folder} is a backup of {catalog.home}.")
        if copied.mended:
            click.echo(f"{copied.mended} files of the earlier backup were damaged, and are mended.")
        click.echo(f"{copied.blobs} new blobs copied ({size(copied.bytes)}).", err=True)
    sys.exit(1 if copied.damaged else 0)
