"""hubkit gc."""

from __future__ import annotations

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, progress_bar, size


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Change nothing; only say what would be removed.")
@json_option
def command(dry_run: bool, as_json: bool) -> None:
    """Remove bytes that no version refers to.

    They belong to deleted adapters, or to publishes that failed.

    It is safe while others publish. Unused bytes are condemned when they are a day old, and removed
    by the next gc that runs a day after that.

    \b
    Example:
      hubkit gc --dry-run
      hubkit gc
    """
    from dataclasses import asdict

    from registry import open_catalog
    from registry.maintenance.gc import GRACE, collect_garbage

    catalog = open_catalog(create=False)
    with progress_bar("Looking at blobs") as progress:
        done = collect_garbage(catalog, dry_run=dry_run, progress=progress)
    if as_json:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    would = "would be " if dry_run else ""
    hours = int(GRACE.total_seconds() // 3600)
    click.echo(f"{done.removed} blobs ({size(done.removed_bytes)}) {would}removed.")
    click.echo(
        f"{done.condemned} blobs ({size(done.condemned_bytes)}) {would}condemned: a gc that runs "
        f"{hours} hours from now removes them."
    )
    click.echo(f"{done.leftovers} leftovers of processes that were killed {would}removed.")
    if done.runs:
        click.echo(f"{done.runs} training runs that broke off {would}removed.")
