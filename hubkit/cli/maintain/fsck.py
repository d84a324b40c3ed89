"""hubkit fsck."""

from __future__ import annotations

import sys

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, progress_bar, size
from registry.errors import HubkitError


@click.command("fsck")
@click.option("--full", is_flag=True, help="Hash every byte; compare every row and the log, too.")
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@json_option
def command(full: bool, repair: bool, as_json: bool) -> None:
    """Check that everything is there, and is what it should be.

    Without --full, it looks at the database's structure, and whether each file is there with the
    right size. With --repair, damaged bytes are set aside and fetched again from where they were
    pulled from, and what can be derived is written again; nothing is deleted.

    Each line says DAMAGED, repaired or note. A note is about something that works, but could be
    better. The exit status is 0 if all is sound, 1 if all damage was repaired, 2 if something is
    damaged or cannot be checked.

    \b
    Example:
      hubkit fsck
      hubkit fsck --full --repair
    """
    from hubkit.cli.cures import with_cure
    from registry import open_catalog
    from registry.maintenance.fsck import check_registry

    try:
        catalog = open_catalog(create=False)
        with progress_bar("Checking") as progress:
            report = check_registry(catalog, full=full, repair=repair, progress=progress)
    except HubkitError as error:
        click.echo(f"Error: {with_cure(str(error), error)}", err=True)
        sys.exit(2)
    findings = [(one.state, with_cure(one.text, one.about)) for one in report.findings]
    if as_json:
        print_json(
            {
                "blobs": report.blobs,
                "bytes": report.bytes,
                "findings": [{"text": text, "state": state} for state, text in findings],
                "status": report.status,
            }
        )
    else:
        for state, text in findings:
            click.echo(f"{'DAMAGED' if state == 'damaged' else state}: {text}")
        read = f", {size(report.bytes)} hashed" if full else ""
        verdict = ("sound", "sound again", "damaged")[report.status]
        click.echo(f"{catalog.home} is {verdict}: {report.blobs} blobs looked at{read}.")
        if report.status == 0 and not full:
            click.echo("Whether their bytes are right, `hubkit fsck --full` tells.", err=True)
    sys.exit(report.status)
