"""hubkit restore."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, printable, progress_bar, size


@click.command("restore")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Bring back a registry from the backup in FOLDER.

    It goes to HUBKIT_HOME, and to the database and storage that HUBKIT_DATABASE_URL and
    HUBKIT_STORAGE_URL name, if set. There must be no registry, or an empty one: move a
    damaged one away first. Every byte is checked on the way.

    \b
    Example:
      hubkit restore /backups/hubkit
    """
    from dataclasses import asdict

    from registry.home import find_catalog
    from registry.maintenance.backup import restore

    target = find_catalog()
    with progress_bar("Copying") as progress:
        copied = restore(folder, target, progress=progress)
    if as_json:
        print_json(asdict(copied))
    else:
        for problem in copied.damaged:
            click.echo(f"DAMAGED: {printable(str(problem))}")
        label = target.database.backend.label
        click.echo(f"{target.home} with the database {label} is what {folder} was.")
        click.echo(f"{copied.blobs} blobs copied ({size(copied.bytes)}).", err=True)
    sys.exit(1 if copied.damaged else 0)
