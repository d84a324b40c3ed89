"""The statements for pages."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy import tuple_ as row_of

from registry.search.conditions import versions_of
from registry.tables.models import LISTINGS, TAGS
from registry.tables.text_index import Words, candidates
from registry.tables.versions import VersionSelect

Sort = Literal["date", "score", "downloads"]

MOST_CANDIDATES = 5_000
"""The most of the newest versions with the words that a page looks through."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a page.

    Attributes:
        key: The value that the last adapter is sorted by; 0 if by date.
        number: The id of its newest revision.
    """

    key: float
    number: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The conditions of a page.

    Attributes:
        sort: The order.
        after: The end of the page before; None for the first page.
        words: Words that the texts must have; None for any.
        tag: A tag that the versions must have; None for any.
        conditions: Other conditions on the listings.
    """

    sort: Sort
    after: End | None
    words: Words | None
    tag: str | None
    conditions: tuple[ColumnElement[bool], ...]

    @property
    def is_only_text(self) -> bool:
        """Whether words are the only condition."""
        return self.words is not None and self.tag is None and not self.conditions


def select_page(asked: Asked, limit: int) -> VersionSelect:
    """Select the versions of a page; the key of the order follows their columns."""
    by_date = asked.sort == "date"
    if by_date and asked.words is not None and asked.is_only_text:
        page = _first_listed(_candidates(asked.words, asked.after), limit)
        return versions_of(page, extra=("key",))
    source, newest, conditions = _source(asked)
    key = literal(0) if by_date else LISTINGS.c[asked.sort]
    order = [newest] if by_date else [key, newest]
    if asked.after is not None:
        ends = [asked.after.number] if by_date else [asked.after.key, asked.after.number]
        conditions.append(row_of(*order) < row_of(*ends))
    page = (
        select(newest.label("revision_id"), key.label("key"))
        .select_from(source)
        .where(*conditions, *asked.conditions)
        .order_by(*(column.desc() for column in order))
        .limit(limit)
    )
    return versions_of(page, extra=("key",))


def last_candidate(connection: Connection, words: Words, after: End | None) -> int | None:
    """Return the last candidate of a page by date; None if there are no more."""
    found = _candidates(words, after).subquery()
    count, lowest = connection.execute(
        select(func.count(), func.min(found.c.rowid)).select_from(found)
    ).one()
    return lowest if count == MOST_CANDIDATES else None


def _candidates(words: Words, after: End | None) -> VersionSelect:
    return candidates(words, MOST_CANDIDATES, below=None if after is None else after.number)


def _source(asked: Asked) -> tuple[FromClause, ColumnElement[int], list[ColumnElement[bool]]]:
    """Return the table to walk along, its column of revisions' ids, and the conditions on it."""
    if asked.words is not None:
        after = asked.after if asked.sort == "date" else None
        found = _candidates(asked.words, after).subquery()
        newest = found.c.rowid
        tagged = exists().where(TAGS.c.revision_id == newest, TAGS.c.tag == asked.tag)
        source = found.join(LISTINGS, LISTINGS.c.revision_id == newest)
        return source, newest, [] if asked.tag is None else [tagged]
    if asked.tag is not None:
        newest = TAGS.c.revision_id
        source = TAGS.join(LISTINGS, LISTINGS.c.revision_id == newest)
        return source, newest, [TAGS.c.tag == asked.tag]
    return LISTINGS, LISTINGS.c.revision_id, []


def _first_listed(words: VersionSelect, limit: int) -> VersionSelect:
    """Take candidates one by one until there are enough."""
    (rowid,) = words.selected_columns
    return (
        words.with_only_columns(rowid.label("revision_id"), literal(0).label("key"))
        .where(exists().where(LISTINGS.c.revision_id == rowid).correlate(rowid.table))
        .limit(limit)
    )
