"""hubkit db."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hubkit.cli.options import json_option, yes_option
from hubkit.cli.output import print_json

if TYPE_CHECKING:
    from registry.database.database import Database


@click.group("db")
def command() -> None:
    """Show, check, upgrade or downgrade the tables of the database.

    hubkit brings its database up to date by itself; these are for the owner of a shared one.

    \b
    Example:
      hubkit db current
      hubkit db check
    """


@command.command()
def upgrade() -> None:
    """Make the tables, or bring them up to date.

    \b
    Example:
      hubkit db upgrade
    """
    from registry import open_catalog

    database = open_catalog().database
    click.echo(f"{database.backend.label} is at migration {database.migration()}.")


@command.command()
@click.argument("migration")
@yes_option(
    "Take the tables back? What later migrations made room for is lost; below 0002, that is the "
    "log and download counts",
    "Not taken back",
)
def downgrade(migration: str) -> None:
    """Downgrade the tables to an earlier MIGRATION, for an older hubkit; make a backup first.

    This hubkit brings them up to date again as soon as it uses them, but what later migrations made
    room for is lost. Below 0006: accounts, and the commits of repositories, which `hubkit fsck
    --full --repair` brings back, but passwords and tokens. Below 0003: the base models' families,
    which `hubkit fsck --full --repair` notes again. Below 0002: the log and where versions were
    pulled from, which `hubkit rebuild` brings back from records/, and download counts, which only a
    backup does.

    \b
    Example:
      hubkit db downgrade 0002
      hubkit db downgrade 0002 --yes
    """
    from registry.maintenance.schema import downgrade as take_back

    database = _existing()
    take_back(database, migration)
    click.echo(f"{database.backend.label} is at migration {database.migration()}.")


@command.command()
@json_option
def current(as_json: bool) -> None:
    """Say which migration the database is at, and which is the newest that this hubkit knows.

    \b
    Example:
      hubkit db current
      hubkit db current --json
    """
    from registry.database.database import known_revisions

    database = _existing()
    label, found, newest = database.backend.label, database.migration(), known_revisions()[-1]
    if as_json:
        print_json({"database": label, "migration": found, "newest": newest})
    else:
        click.echo(f"{label} is at migration {found}; the newest is {newest}.")


@command.command()
@json_option
def check(as_json: bool) -> None:
    """Compare the tables with those that this hubkit knows; exit with 1 if they differ.

    \b
    Example:
      hubkit db check
      hubkit db check --json
    """
    from registry.errors import DatabaseError
    from registry.maintenance.schema import differences

    database = _existing()
    label = database.backend.label
    if not database.is_current():
        raise DatabaseError(
            f"{label} is at migration {database.migration()}: run `hubkit db upgrade`.", label
        )
    found = differences(database)
    if as_json:
        print_json({"database": label, "migration": database.migration(), "differences": found})
        sys.exit(1 if found else 0)
    if found:
        listed = "\n".join(f"  {line}" for line in found)
        raise DatabaseError(
            f"The tables of {label} are not those of its migration. To make them so would take:\n"
            f"{listed}\nThey were altered: restore a backup, or run `hubkit rebuild`.",
            label,
        )
    click.echo(f"{label} has the tables of migration {database.migration()}.")


def _existing() -> Database:
    from registry.errors import RegistryNotFoundError
    from registry.home import find_catalog

    database = find_catalog().database
    if not database.exists():
        label = database.backend.label
        raise RegistryNotFoundError(
            f"{label} has no tables of hubkit. `hubkit db upgrade` makes them.", label
        )
    return database
