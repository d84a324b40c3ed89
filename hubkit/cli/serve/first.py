"""The first user of a hub that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from registry.errors import InvalidNameError

if TYPE_CHECKING:
    from registry.accounts.accounts import Accounts
    from registry.catalog.catalog import Catalog


def require_user(catalog: Catalog, *, is_open: bool, address: str) -> None:
    """Make the first user, and print their token; refuse where others could come in before them.

    Args:
        catalog: The registry.
        is_open: Whether other machines reach the hub.
        address: Its URL.

    Raises:
        ClickException: Nobody could sign in, and others reach the hub.
    """
    from registry.accounts.accounts import Accounts
    from registry.accounts.tokens import Tokens

    accounts = Accounts(catalog.store)
    if accounts.has_credentials():
        return
    if is_open:
        raise click.ClickException(
            "Nobody could sign in to this hub, which other machines reach: no user has a token. "
            "Make one with `hubkit user add NAME --admin` and `hubkit token create "
            "NAME --name laptop --scope admin`."
        )
    if accounts.users():
        return  # the administrator who made the users makes their tokens, too
    name = _add(accounts)
    token = Tokens(catalog.store).create(name, "first", "admin")
    click.echo(
        f"{name} is the first user of this hub, and administers it. The token is shown only now:\n"
        f"  export HF_ENDPOINT={address}\n"
        f"  export HF_TOKEN={token}"
    )


def _add(accounts: Accounts) -> str:
    from registry.log.log import current_user

    try:
        return accounts.add_user(current_user(), admin=True).name
    except InvalidNameError:  # the system allows names that no client does
        return accounts.add_user("owner", admin=True).name
