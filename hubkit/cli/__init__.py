"""The command line: a file a command, each of which parses, makes one library call, and prints.

What a command runs is imported inside its body, so that ``hubkit --help`` is there at once.
"""

from __future__ import annotations

import logging
from typing import Any

import click

from hubkit.cli import (
    alias,
    attention,
    backup,
    db,
    delete,
    diff,
    doctor,
    evaluate,
    exporting,
    fsck,
    fuse,
    gc,
    importing,
    leaderboard,
    lineage,
    listing,
    log,
    login,
    mix,
    predict,
    prune,
    publish,
    pull,
    rebuild,
    restore,
    search,
    show,
    stack,
    train,
    yank,
)
from hubkit.cli.output import one_line
from registry.errors import HubkitError


class _Hubkit(click.Group):
    """Lists the commands as they were added, and prints what hubkit refuses to do."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Neither a database nor a tokenizer takes what is not Unicode.
        for argument in args:
            if not argument.isascii() and any("\ud800" <= c <= "\udfff" for c in argument):
                raise click.UsageError(f"{argument!a} is not valid UTF-8.", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        notes = logging.getLogger("hubkit")
        notes.addHandler(handler := _Notes(logging.WARNING))
        try:
            return super().invoke(ctx)
        except HubkitError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            raise click.ClickException(
                "Interrupted. Run the same command again to go on."
            ) from error
        finally:
            notes.removeHandler(handler)


class _Notes(logging.Handler):
    """Tells people what the library noted, beside the result."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"Note: {one_line(record.getMessage())}", err=True)


@click.group(cls=_Hubkit, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hubkit", message="hubkit %(version)s")
def main() -> None:
    """Train, publish, find, fuse and run adapters for frozen transformers models.

    The registry is the folder HUBKIT_HOME; by default, it is where your system keeps the data of
    applications. HUBKIT_DATABASE_URL and HUBKIT_STORAGE_URL keep its database on a PostgreSQL
    server, and its bytes in object storage.

    \b
    Example:
      hubkit train reviews.csv --base bert-base-uncased --task sentiment --name reviews
      hubkit fuse reviews tweets --data mixed.csv --name all-round
      hubkit predict all-round "What a film!"
    """


for _module in (
    *(train, fuse, stack, mix, prune, predict, evaluate, attention),
    *(listing, leaderboard, show, lineage, diff, search),
    *(publish, pull, login, exporting, importing, alias, yank, delete),
    *(log, gc, fsck, backup, restore, rebuild, doctor, db),
):
    main.add_command(_module.command)
