"""Users and organisations: their repositories and their members."""

from starlette.responses import Response

from registry.errors import NoSuchPageError, RequestError
from registry.history.listing import Query
from registry.places import Kind, kind_called
from registry.server.admitting import reader_of
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.front import PAGE, entry_of, push_lines
from registry.server.pages.render import link, page

KINDS: dict[Kind, str] = {"model": "Models", "dataset": "Datasets", "space": "Spaces"}
"""The kinds of repositories, and their names on the page."""


def account(hub: Hub, ask: Asking) -> Response:
    """Show a user or an organisation."""
    name = ask.params["account"]
    found = hub.accounts.find(name)
    if found is None:
        raise NoSuchPageError(f"This hub has no user and no organisation {name!r}.")
    asked, cursor = ask.value("kind") or "model", ask.value("cursor")
    kind = kind_called(asked)
    if kind is None:
        raise RequestError(f"An account has models, datasets and spaces, not {asked[:40]!r}.")
    query = Query(kind=kind, account_id=found.id)
    listed, following = hub.history.page(query, reader_of(ask.caller), limit=PAGE, after=cursor)
    is_own = ask.caller is not None and ask.caller.account.id == found.id
    is_user = found.kind == "user"
    others = hub.accounts.memberships(found) if is_user else hub.accounts.members(found)
    return page(
        ask,
        "account.html",
        account=found,
        kind=kind,
        kinds=[(one, label, link(found.name, kind=one)) for one, label in KINDS.items()],
        entries=[entry_of(one) for one in listed],
        push=push_lines(ask, kind) if is_own else None,
        members=[(one.account.name, one.role, link(one.account.name)) for one in others],
        first=link(found.name, kind=kind) if cursor else None,
        next=link(found.name, kind=kind, cursor=following) if following else None,
    )
