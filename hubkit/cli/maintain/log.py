"""hubkit log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, print_table, printable
from hubkit.cli.params import REF
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from registry.log.entry import Entry


@click.command("log")
@click.argument("name", type=REF, required=False)
@json_option
def command(name: AdapterRef | None, as_json: bool) -> None:
    """Show who did what to NAME, or to all adapters, and when.

    Every entry's hash covers the one before it. Note the printed hash of the last entry: later, it
    proves that nothing up to that entry was changed. The whole log is verified each time. If it was
    altered, this says where; if it lost entries that are in records/, this says so. The exit status
    is 1 in both cases.

    \b
    Example:
      hubkit log
      hubkit log reviews --json
    """
    from hubkit.cli.cures import with_cure
    from registry import open_catalog
    from registry.maintenance.rebuild import find_behind

    catalog = open_catalog(create=False)
    behind = find_behind(catalog)
    with catalog.database.read() as connection:
        chain = catalog.log.verify(connection)
        names = None if name is None else [name.folded]
        entries = [] if chain.problems else [*catalog.log.entries(connection, names)]
    problems = [*chain.problems]
    if behind is not None and behind.state == "damaged":
        problems.append(with_cure(behind.text, behind.about))
    if as_json:
        print_json(
            {
                "entries": [
                    {
                        "sequence": entry.sequence,
                        "at": entry.at,
                        "actor": entry.actor,
                        "action": entry.action,
                        "name": entry.name or None,
                        "details": dict(entry.details),
                        "hash": entry.hash,
                    }
                    for entry in entries
                ],
                "length": chain.length,
                "hash": chain.hash,
                "problems": problems,
            }
        )
    else:
        if entries:
            print_table(("entry", "when", "who", "what", "adapter", "more"), map_rows(entries))
        for problem in problems:
            click.echo(printable(problem), err=True)
        if chain.problems:
            click.echo("The log was altered: `hubkit fsck --full` says what to do.", err=True)
        if not problems:
            click.echo(f"{chain.length} entries, verified; last hash {chain.hash}", err=True)
            if behind is not None:
                click.echo(f"{behind.state}: {printable(behind.text)}", err=True)
    if problems:
        sys.exit(1)


def map_rows(entries: list[Entry]) -> list[tuple[str, ...]]:
    """The entries as rows of a table."""
    return [
        (
            str(entry.sequence),
            f"{entry.at[:16].replace('T', ' ')}",
            entry.actor,
            entry.action,
            _adapter(entry),
            _more(entry),
        )
        for entry in entries
    ]


def _adapter(entry: Entry) -> str:
    number = entry.details.get("number")
    return f"{entry.name}@{number}" if entry.name and number else entry.name or "-"


def _more(entry: Entry) -> str:
    details = entry.details
    match entry.action:
        case "publish":
            origin = details.get("origin")
            return f"from {origin}" if origin else str(details.get("message") or "-")
        case "yank":
            return str(details.get("reason"))
        case "alias" | "unalias":
            return str(details.get("alias"))
        case "quarantine" | "fetch":
            return str(details.get("label"))
        case "gc":
            return f"{details.get('removed')} blobs removed, {details.get('condemned')} condemned"
        case "account":
            return f"{details.get('change')} {details.get('account')}"
        case "member":
            role = details.get("role")
            what = f"as {role} to" if role else "out of"
            return f"{details.get('user')} {what} {details.get('organisation')}"
        case "token":
            scope = f" ({details['scope']})" if details.get("scope") else ""
            named = f"{details.get('token')} of {details.get('account')}"
            return f"{details.get('change')} {named}{scope}"
        case _:
            return "-"
