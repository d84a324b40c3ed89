"""hubkit import."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, cast

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, version_json


@click.command("import")
@click.argument("bundle")
@json_option
def command(bundle: str, as_json: bool) -> None:
    """Publish what is in BUNDLE, a file that `hubkit export` wrote.

    - is standard input.

    Names, numbers, authors and dates stay. Every byte is checked against its digest. Giving the
    command again changes nothing.

    \b
    Example:
      hubkit import reviews.bundle
      ssh far-away hubkit export reviews | hubkit import -
    """
    from registry import open_catalog
    from registry.maintenance.bundle import import_bundle
    from registry.storage.durable import storage_errors

    with (
        storage_errors("read", Path(bundle)),
        click.open_file(bundle, "rb") as source,
    ):
        versions = import_bundle(open_catalog(), cast(BinaryIO, source))
    if as_json:
        print_json([version_json(version) for version in versions])
        return
    for version in versions:
        click.echo(str(version.ref))
