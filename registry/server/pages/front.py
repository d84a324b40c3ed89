"""The front page, and those of data sets and spaces: search, filters and a list."""

from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from registry.errors import RequestError
from registry.folders.card import BASE_TAG
from registry.history.listing import Listed, Query, Sort
from registry.places import Kind
from registry.server.admitting import reader_of
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.render import link, page, path_of_base

PAGE = 30
"""Repositories on a page."""

SUGGESTED = 50
"""The most values that a field suggests."""

SIMILAR = 5
"""The most base models that are suggested if a search by one finds nothing."""

MOST_WORDS = 8
"""Words of one search."""

SORTS: dict[Sort, str] = {
    "modified": "Last changed",
    "created": "Newest",
    "downloads": "Most downloads",
}
"""The orders, and their names on the page."""

_WHAT: dict[Kind, str] = {"model": "adapter", "dataset": "data", "space": "space"}
_FEWER = ("method", "language", "tag")
"""Filters that are shown on demand, or if they are set."""

_FILTERS = ("base", "task", *_FEWER)


@dataclass(frozen=True, slots=True)
class Suggested:
    """Suggestions for the fields of the search: values of public models, most frequent first."""

    bases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    task_types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A repository in a list.

    Attributes:
        name: ``owner/name``.
        href: Its page.
        private: Whether it is private.
        task_type: The type of its task; None if it is not known.
        library: The library that reads it; None if it is not known.
        bases: Its base models, each with the path of its page.
        downloads: The number of downloads.
        changed_at: The time of its last change.
    """

    name: str
    href: str
    private: bool
    task_type: str | None
    library: str | None
    bases: tuple[tuple[str, str], ...]
    downloads: int
    changed_at: datetime


def models(hub: Hub, ask: Asking) -> Response:
    """Show the models, by search and filters."""
    return _list(hub, ask, "model", "Models", ())


def datasets(hub: Hub, ask: Asking) -> Response:
    """Show the data sets, by search and filters."""
    return _list(hub, ask, "dataset", "Datasets", ("datasets",))


def spaces(hub: Hub, ask: Asking) -> Response:
    """Show the spaces, by search and filters."""
    return _list(hub, ask, "space", "Spaces", ("spaces",))


def entry_of(listed: Listed) -> Entry:
    """Return the entry of a repository in a list."""
    repository, facts = listed.repository, listed.facts
    return Entry(
        name=repository.full_name,
        href=link(*repository.place.split("/")),
        private=repository.visibility == "private",
        task_type=facts.pipeline_tag,
        library=facts.library,
        bases=tuple((one, path_of_base(one)) for one in facts.base_models),
        downloads=repository.downloads,
        changed_at=listed.head.created_at,
    )


def push_lines(ask: Asking, kind: Kind) -> str:
    """Return the lines with which the reader uploads a repository."""
    owner = "NAME" if ask.caller is None else ask.caller.account.name
    option = "" if kind == "model" else f" --repo-type {kind}"
    return "\n".join(
        (
            f"export HF_ENDPOINT={ask.base}",
            "export HF_TOKEN=hubkit_...",
            f"hf upload {owner}/my-{_WHAT[kind]} ./my-{_WHAT[kind]}{option}",
        )
    )


def _list(hub: Hub, ask: Asking, kind: Kind, title: str, place: tuple[str, ...]) -> Response:
    words, filters = ask.value("q"), {name: ask.value(name) for name in _FILTERS}
    sort, cursor = ask.value("sort") or "modified", ask.value("cursor")
    if sort not in SORTS:
        raise RequestError(f"This hub does not sort by {sort[:40]!r}.")
    split = (words or "").split()
    if len(split) > MOST_WORDS:
        raise RequestError(f"A search has at most {MOST_WORDS} words.")
    base = filters["base"]
    tags = (*(filters[name] for name in _FEWER),)
    query = Query(
        kind=kind,
        words=tuple(split),
        tags=tuple(one for one in (base and f"{BASE_TAG}{base}", *tags) if one),
        pipeline_tag=filters["task"],
        sort=sort,
    )
    listed, following = hub.history.page(query, reader_of(ask.caller), limit=PAGE, after=cursor)
    asked = {"q": words, **filters, "sort": ask.value("sort")}
    return page(
        ask,
        "front.html",
        title=title,
        kind=kind,
        action=link(*place),
        entries=[entry_of(one) for one in listed],
        words=words,
        filters=filters,
        is_narrowed=bool(words or any(filters.values())),
        is_open=bool(any(filters[name] for name in _FEWER) or sort != "modified"),
        sort=sort,
        sorts=SORTS,
        first=link(*place, **asked) if cursor else None,
        next=link(*place, **asked, cursor=following) if following else None,
        push=push_lines(ask, kind),
        suggested=_suggested(hub) if kind == "model" else Suggested(),
        similar=[
            (one, link(*place, **{**asked, "base": one}))
            for one in (_similar(hub, base) if base and not listed else ())
        ],
    )


def _suggested(hub: Hub) -> Suggested:
    overview = hub.overview.get()
    return Suggested(
        bases=tuple(base.name for base in overview.bases[:SUGGESTED]),
        methods=overview.methods[:SUGGESTED],
        task_types=overview.task_types[:SUGGESTED],
        languages=overview.languages[:SUGGESTED],
    )


def _similar(hub: Hub, base: str) -> list[str]:
    """Return public base models whose ids contain a text, such as the end of the id."""
    names = (one.name for one in hub.overview.get().bases)
    return [one for one in names if base.lower() in one.lower() and one != base][:SIMILAR]
