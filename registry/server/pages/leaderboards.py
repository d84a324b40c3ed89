"""Leaderboards: a list of them, and a page for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from registry.errors import AmbiguousDataSetError
from registry.search.leaderboard import leaderboard, name_exactly
from registry.search.overview import Board
from registry.server.admitting import reader_of
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.render import link, page, path_of_base

LISTED = 100
"""Leaderboards in the list."""

ROWS = 50
"""Rows of a leaderboard."""


@dataclass(frozen=True, slots=True)
class ShownBoard:
    """A leaderboard in a list.

    Attributes:
        board: The leaderboard.
        href: Its page.
    """

    board: Board
    href: str


def leaderboards(hub: Hub, ask: Asking) -> Response:
    """Show the leaderboard of the data set in the query, else the list of leaderboards."""
    dataset = ask.value("dataset")
    return _list(hub, ask) if dataset is None else _one(hub, ask, dataset)


def shown_boards(boards: Iterable[Board]) -> list[ShownBoard]:
    """Return the entries of leaderboards in a list."""
    return [
        ShownBoard(one, _path(name_exactly(one.dataset), one.metric, one.task, one.base))
        for one in boards
    ]


def _list(hub: Hub, ask: Asking) -> Response:
    base, task, words = ask.value("base"), ask.value("task"), ask.value("q")
    wanted = (words or "").lower().split()
    found = [
        board
        for board in hub.overview.get().boards
        if base in (None, board.base)
        and task in (None, board.task)
        and all(word in board.dataset.lower() for word in wanted)
    ]
    return page(
        ask,
        "leaderboards.html",
        boards=shown_boards(found[:LISTED]),
        base=base,
        task=task,
        words=words,
        is_narrowed=bool(base or task or words),
        is_cut=len(found) > LISTED,
    )


def _one(hub: Hub, ask: Asking, dataset: str) -> Response:
    base, task = ask.value("base"), ask.value("task")
    metric, split = ask.value("metric"), ask.value("split")
    try:
        ranks = leaderboard(
            hub.catalog,
            dataset,
            metric=metric,
            split=split,
            task=task,
            base=base,
            limit=ROWS,
            reader=reader_of(ask.caller),
        )
    except AmbiguousDataSetError as error:
        return _choose(ask, dataset, error.found, metric, task, base)
    return page(
        ask,
        "leaderboard.html",
        dataset=dataset.removesuffix("#"),
        base=base,
        task=task,
        split=split,
        metric=ranks[0].metric.name if ranks else metric,
        is_cut=len(ranks) == ROWS,
        rows=[(rank, link(*str(rank.version.ref.repository).split("/"))) for rank in ranks],
        base_href=base and path_of_base(base),
    )


def _choose(
    ask: Asking,
    dataset: str,
    found: object,
    metric: str | None,
    task: str | None,
    base: str | None,
) -> Response:
    """Show the data sets that share a name and have different rows."""
    names: Sequence[str] = found if isinstance(found, list) else []
    choices = [(name, _path(name, metric, task, base)) for name in names]
    return page(ask, "choose.html", dataset=dataset, choices=choices)


def _path(dataset: str, metric: str | None, task: str | None, base: str | None) -> str:
    return link("leaderboards", dataset=dataset, metric=metric, task=task, base=base)
