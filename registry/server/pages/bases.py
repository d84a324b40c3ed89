"""Base models: a list of them, and a page for each with its repositories."""

from starlette.responses import Response

from registry.errors import NoSuchPageError
from registry.folders.card import BASE_TAG
from registry.history.listing import Query
from registry.server.admitting import reader_of
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.front import PAGE, entry_of
from registry.server.pages.leaderboards import shown_boards
from registry.server.pages.render import link, page, path_of_base

LISTED = 100
"""The most base models in the list, and leaderboards on the page of one."""


def bases(hub: Hub, ask: Asking) -> Response:
    """Show the base models with the most public repositories, by words of their names."""
    words = ask.value("q")
    wanted = (words or "").lower().split()
    found = [
        base
        for base in hub.overview.get().bases
        if all(word in base.name.lower() for word in wanted)
    ]
    return page(
        ask,
        "bases.html",
        bases=[(base, path_of_base(base.name)) for base in found[:LISTED]],
        words=words,
        is_cut=len(found) > LISTED,
    )


def base(hub: Hub, ask: Asking) -> Response:
    """Show the repositories for a base model that the reader may see."""
    name, cursor = ask.params["base"], ask.value("cursor")
    query = Query(tags=(f"{BASE_TAG}{name}",))
    listed, following = hub.history.page(query, reader_of(ask.caller), limit=PAGE, after=cursor)
    if not listed and cursor is None:
        raise NoSuchPageError(
            f"This hub has no repositories for a base model {name!r} that you may see."
        )
    overview = hub.overview.get()
    task_types = next((one.task_types for one in overview.bases if one.name == name), ())
    boards = [one for one in overview.boards if one.base == name]
    return page(
        ask,
        "base.html",
        name=name,
        entries=[entry_of(one) for one in listed],
        task_types=[(one, link("", base=name, task=one)) for one in task_types],
        boards=shown_boards(boards[:LISTED]),
        all_boards=link("leaderboards", base=name) if len(boards) > LISTED else None,
        first=path_of_base(name) if cursor else None,
        next=link("bases", *name.split("/"), cursor=following) if following else None,
    )
