"""hubkit token."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, print_table
from hubkit.cli.params import PERIOD

if TYPE_CHECKING:
    from registry.accounts.tokens import Tokens


@click.group("token")
def command() -> None:
    """Make, list and revoke the access tokens of the users of a hub.

    \b
    Example:
      hubkit token create alice --name laptop --scope write
      hubkit token revoke alice laptop
    """


@command.command()
@click.argument("user")
@click.option("--name", required=True, help="A name for it, such as where it is used.")
@click.option(
    "--scope",
    required=True,
    type=click.Choice(["read", "write", "admin"]),
    help="The most that it allows, within the rights of its user.",
)
@click.option(
    "--repository",
    "repositories",
    multiple=True,
    metavar="NAME",
    help="Limit it to this repository, OWNER/NAME; repeatable.  [default: no limit]",
)
@click.option(
    "--expires",
    type=PERIOD,
    metavar="PERIOD",
    help="How long it is valid: 12h, 90d, 4w.  [default: until it is revoked]",
)
@json_option
def create(
    user: str,
    name: str,
    scope: str,
    repositories: tuple[str, ...],
    expires: timedelta | None,
    as_json: bool,
) -> None:
    """Make a token for USER and print it; it cannot be shown again.

    \b
    Example:
      hubkit token create alice --name laptop --scope write
      export HF_TOKEN=$(hubkit token create alice --name ci --scope read --expires 90d)
    """
    expires_at = None if expires is None else datetime.now(UTC) + expires
    text = _open_tokens().create(
        user,
        name,
        scope,  # type: ignore[arg-type]
        repositories=repositories,
        expires_at=expires_at,
    )
    if as_json:
        print_json({"token": text, "name": name, "scope": scope, "expires_at": _iso(expires_at)})
        return
    click.echo(text)
    if sys.stdout.isatty():
        click.echo("This is shown once. Keep it secret.", err=True)


@command.command("list")
@click.argument("user")
@json_option
def list_tokens(user: str, as_json: bool) -> None:
    """List the tokens of USER: what each allows, and when it was used last.

    \b
    Example:
      hubkit token list alice
    """
    from hubkit.cli.serve.accounts import open_accounts

    found = _open_tokens().of(open_accounts().require(user, "user"))
    if as_json:
        print_json(
            [
                {
                    "name": token.name,
                    "hint": token.hint,
                    "scope": token.scope,
                    "repositories": [*token.repositories],
                    "created_at": _iso(token.created_at),
                    "expires_at": _iso(token.expires_at),
                    "last_used_at": _iso(token.last_used_at),
                }
                for token in found
            ]
        )
        return
    rows = [
        (
            token.name,
            f"{token.hint}...",
            token.scope,
            ", ".join(token.repositories) or "-",
            _day(token.created_at, "-"),
            _day(token.expires_at, "never"),
            _day(token.last_used_at, "never"),
        )
        for token in found
    ]
    columns = ("token", "starts", "scope", "limited to", "made", "expires", "used")
    print_table(columns, rows, lesser=("made", "starts"))


@command.command()
@click.argument("user")
@click.argument("name")
def revoke(user: str, name: str) -> None:
    """Revoke the token NAME of USER.

    \b
    Example:
      hubkit token revoke alice laptop
    """
    _open_tokens().revoke(user, name)
    click.echo(f"The token {name} is revoked.")


def _open_tokens() -> Tokens:
    from registry import open_catalog
    from registry.accounts.tokens import Tokens

    return Tokens(open_catalog().store)


def _iso(at: datetime | None) -> Any:
    return None if at is None else at.isoformat()


def _day(at: datetime | None, otherwise: str) -> str:
    return otherwise if at is None else f"{at:%Y-%m-%d}"
