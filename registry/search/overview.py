"""An overview of a hub: the most frequent facts of its public adapters.

It is computed from all of them, in about a second for 100,000, so callers keep it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    func,
    select,
    union,
)

from registry.database.database import Database
from registry.folders.card import BASE_TAG
from registry.history.cards import base_models_in
from registry.tables.measurements import DIGITS
from registry.tables.models import HUB_LISTINGS, HUB_TAGS, LISTINGS, MEASUREMENTS, METRICS

MOST = 1_000
"""The most base models, and values of each other kind, that are kept."""

MOST_BOARDS = 5_000
"""The most leaderboards that are kept."""

_PUBLIC = (HUB_LISTINGS.c.kind == "model", HUB_LISTINGS.c.visibility == "public")


@dataclass(frozen=True, slots=True)
class Base:
    """A base model of public repositories.

    Attributes:
        name: Its id.
        repositories: The number of its repositories.
        task_types: The types of their tasks, the most frequent first.
    """

    name: str
    repositories: int
    task_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A leaderboard of public adapters.

    Attributes:
        base: The id of their base model.
        task: Their task; None if they have none.
        dataset: The data set, as `leaderboard` takes it.
        metric: The metric.
        adapters: The number of the adapters.
    """

    base: str
    task: str | None
    dataset: str
    metric: str
    adapters: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The parts of an overview; in each, the most frequent come first.

    Attributes:
        bases: The base models.
        task_types: The types of tasks.
        methods: The methods of adapters.
        languages: The languages.
        boards: The leaderboards.
    """

    bases: tuple[Base, ...] = ()
    task_types: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    boards: tuple[Board, ...] = ()


def find_overview(database: Database) -> Overview:
    """Return the overview of public models; a listing finds them by each of its values."""
    with database.read() as connection:
        return Overview(
            bases=_bases(connection),
            task_types=_task_types(connection),
            methods=_tags(connection, LISTINGS.c.method),
            languages=_tags(connection, LISTINGS.c.language),
            boards=_boards(connection),
        )


def _bases(connection: Connection) -> tuple[Base, ...]:
    rows = connection.execute(
        select(HUB_TAGS.c.tag, HUB_LISTINGS.c.pipeline_tag, func.count().label("times"))
        .join(HUB_LISTINGS, HUB_LISTINGS.c.repository_id == HUB_TAGS.c.repository_id)
        .where(*_PUBLIC, HUB_TAGS.c.tag.startswith(BASE_TAG, autoescape=True))
        .group_by(HUB_TAGS.c.tag, HUB_LISTINGS.c.pipeline_tag)
    ).all()
    counts: dict[str, Counter[str | None]] = {}
    for row in rows:
        counts.setdefault(row.tag, Counter())[row.pipeline_tag] += row.times
    found = [
        Base(name, by_type.total(), _most_frequent(by_type))
        for name in base_models_in(counts)
        for by_type in [counts[f"{BASE_TAG}{name}"]]
    ]
    return tuple(sorted(found, key=lambda base: (-base.repositories, base.name))[:MOST])


def _task_types(connection: Connection) -> tuple[str, ...]:
    column = HUB_LISTINGS.c.pipeline_tag
    rows = connection.execute(select(column, func.count()).where(*_PUBLIC).group_by(column))
    return _most_frequent(_counted(rows))


def _tags(connection: Connection, column: Column[str]) -> tuple[str, ...]:
    """Return values of newest versions that are tags of their repositories, too."""
    rows = connection.execute(
        select(column, func.count())
        .select_from(LISTINGS)
        .join(HUB_LISTINGS, HUB_LISTINGS.c.repository_id == LISTINGS.c.repository_id)
        .join(HUB_TAGS, HUB_TAGS.c.repository_id == LISTINGS.c.repository_id)
        .where(*_PUBLIC, HUB_TAGS.c.tag == column)
        .group_by(column)
    )
    return _most_frequent(_counted(rows))


def _boards(connection: Connection) -> tuple[Board, ...]:
    digits = func.substr(MEASUREMENTS.c.data_sha256, 1, DIGITS)
    recorded = (MEASUREMENTS.c.dataset + "#" + digits, MEASUREMENTS.c.metric)
    measured = union(
        _of_public(METRICS, METRICS.c.dataset, METRICS.c.name), _of_public(MEASUREMENTS, *recorded)
    ).subquery()
    what = (measured.c.base_model, measured.c.task, measured.c.dataset, measured.c.metric)
    count = func.count()
    rows = connection.execute(
        select(*what, count).group_by(*what).order_by(count.desc(), *what).limit(MOST_BOARDS)
    )
    return tuple(Board(*row) for row in rows)


def _of_public(
    table: Table, dataset: ColumnElement[str], metric: ColumnElement[str]
) -> Select[*tuple[Any, ...]]:
    """Select the measurements of the newest versions of public adapters."""
    return (
        select(
            LISTINGS.c.base_model,
            LISTINGS.c.task,
            dataset.label("dataset"),
            metric.label("metric"),
            LISTINGS.c.revision_id,
        )
        .select_from(HUB_LISTINGS)
        .join(LISTINGS, LISTINGS.c.repository_id == HUB_LISTINGS.c.repository_id)
        .join(table, table.c.revision_id == LISTINGS.c.revision_id)
        .where(*_PUBLIC)
    )


def _counted(rows: Iterable[Row[*tuple[Any, ...]]]) -> "Counter[str | None]":
    return Counter({row[0]: row[1] for row in rows})


def _most_frequent(counts: "Counter[str | None]") -> tuple[str, ...]:
    found = [value for value in counts if value is not None]
    return tuple(sorted(found, key=lambda value: (-counts[value], value))[:MOST])
