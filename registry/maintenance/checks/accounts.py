"""Compare the rows of accounts with the log, and write them again from it."""

from collections.abc import Iterator

from sqlalchemy import Connection

from registry.accounts.from_log import ACTIONS, LoggedAccounts
from registry.catalog.catalog import Catalog
from registry.errors import AlteredRowsError
from registry.history.from_log.trails import understood
from registry.maintenance.findings import Finding


def check_accounts(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding for each difference between the rows of accounts and the log.

    Args:
        catalog: The registry.
        repair: Whether to write such rows again, and to revoke tokens that the log does not have.
    """
    with catalog.database.read() as connection:
        logged = _logged_accounts(catalog, connection)
        differences, unknown = [*logged.differences(connection)], logged.unknown(connection)
    for name in unknown:
        yield Finding(
            f"{name}: there is a row of this account, but the log does not say who added it. "
            "Remove the account, unless it is known."
        )
    if repair and differences:
        with catalog.database.write() as connection:
            _logged_accounts(catalog, connection).write(connection)
    for text in differences:
        if repair:
            yield Finding(f"{text} The rows are as the log says again.", "repaired")
        else:
            yield Finding(text, about=AlteredRowsError)


def _logged_accounts(catalog: Catalog, connection: Connection) -> LoggedAccounts:
    logged = LoggedAccounts()
    for entry in catalog.log.entries(connection, [""]):
        if entry.action in ACTIONS:
            with understood(entry):
                logged.add(entry)
    return logged
