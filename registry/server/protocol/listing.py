"""Listings of repositories, a page at a time, for whoever asks."""

from typing import Any

from starlette.responses import JSONResponse, Response

from registry.accounts.access import Account, Need, Place
from registry.errors import RequestError, UnsupportedRequestError
from registry.history.listing import MOST, Listed, Query, Sort
from registry.places import KINDS, kind_called
from registry.server.admitting import reader_of, require
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.protocol.account import find_account
from registry.server.protocol.describing import describe_listed, timestamp

PAGE = 1000
"""Repositories on a page, unless the client wants fewer."""

FULL_PAGE = 100
"""Repositories on a page that names the files of each."""

MOST_CONDITIONS = 16
"""Words and filters of one listing."""

_STORAGE_PAGE = 100

_SORTS: dict[str, Sort] = {
    "lastModified": "modified",
    "last_modified": "modified",
    "createdAt": "created",
    "created_at": "created",
    "downloads": "downloads",
    # There are no likes, and no trends: what is fetched most comes nearest to both.
    "likes": "downloads",
    "trendingScore": "downloads",
    "trending_score": "downloads",
}


def list_repositories(hub: Hub, ask: Asking) -> Response:
    """List the repositories of a kind that whoever asks may read."""
    author = ask.value("author")
    account = None if author is None else hub.accounts.find(author)
    if author is not None and account is None:
        return JSONResponse([])
    query = Query(
        kind=ask.params["kind"],  # type: ignore[arg-type]  # one of the table's
        account_id=None if account is None else account.id,
        words=tuple(word for text in ask.values("search") for word in text.split()),
        tags=tuple(tag for text in ask.values("filter") for tag in text.split(",") if tag),
        pipeline_tag=ask.value("pipeline_tag"),
        sort=_sort(ask),
    )
    if len(query.words) + len(query.tags) > MOST_CONDITIONS:
        raise RequestError(f"A listing has at most {MOST_CONDITIONS} words and filters.")
    if ask.value("gated") is not None and ask.flag("gated"):
        return JSONResponse([])  # this hub has none
    return _page(hub, ask, query)


def own_repositories(hub: Hub, ask: Asking) -> Response:
    """List all repositories of whoever asks, with what they take."""
    return _storage(hub, ask, ask.signed_in.account)


def organisation_repositories(hub: Hub, ask: Asking) -> Response:
    """List all repositories of an organisation, with what they take, for who writes to it."""
    found = find_account(hub, ask, "organisation")
    require(hub, ask.caller, Need.WRITE, Place.of_account(found.id))
    return _storage(hub, ask, found)


def _page(hub: Hub, ask: Asking, query: Query) -> Response:
    full, card, only = ask.flag("full"), ask.flag("cardData"), ask.values("expand")
    most = FULL_PAGE if full or {"siblings", "usedStorage"} & {*only} else MOST
    limit = ask.number("limit", default=min(PAGE, most), most=most)
    listed, cursor = hub.history.page(
        query, reader_of(ask.caller), limit=limit, after=ask.value("cursor")
    )
    content = [describe_listed(hub, one, full=full, card=card, only=only) for one in listed]
    return JSONResponse(content, headers={} if cursor is None else ask.next_page(cursor=cursor))


def _storage(hub: Hub, ask: Asking, account: Account) -> Response:
    """List what an account owns: models, then datasets, then spaces, each a page or more."""
    named, _, after = (ask.value("cursor") or KINDS[0]).partition(" ")
    kind = kind_called(named)
    if kind is None:
        raise RequestError("This is no cursor of a listing.")
    query = Query(kind=kind, account_id=account.id)
    found, cursor = hub.history.page(
        query, reader_of(ask.caller), limit=_STORAGE_PAGE, after=after or None
    )
    following = KINDS[KINDS.index(kind) + 1 :]
    more = f"{kind} {cursor}" if cursor else following[0] if following else None
    headers = {} if more is None else ask.next_page(cursor=more)
    return JSONResponse([_stored(hub, one) for one in found], headers=headers)


def _stored(hub: Hub, one: Listed) -> dict[str, Any]:
    return {
        "id": one.repository.full_name,
        "type": one.repository.kind,
        "updatedAt": timestamp(one.head.created_at),
        "visibility": one.repository.visibility,
        "storage": hub.history.tree(one.head).size,
        "storagePercent": 0,
    }


def _sort(ask: Asking) -> Sort:
    text = ask.value("sort")
    if ask.value("direction") not in (None, "-1"):
        raise UnsupportedRequestError("This hub lists what is newest, or fetched most, first.")
    if text is not None and text not in _SORTS:
        raise RequestError(f"This hub does not sort by {text[:40]!r}.")
    return _SORTS[text] if text is not None else "modified"
