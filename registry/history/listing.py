"""Pages of the repositories that a reader may see.

Queries walk an index, newest first: one over public repositories, others over those that only this
reader may read. A page is the newest of all, so private repositories of others cost nothing. If the
query has a rare tag or word, its few repositories are looked up and sorted instead: a walk would
find too few of them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, exists, func, select
from sqlalchemy import tuple_ as row_of

from registry.errors import InvalidNameError
from registry.history.cards import Facts, grams_of, load_tags
from registry.history.commits import Commit, load_commits
from registry.history.repositories import Repository, repository_of
from registry.places import Kind
from registry.tables.column_types import MAX_ID, MAX_SIZE
from registry.tables.models import (
    DOWNLOADS,
    HUB_LISTINGS,
    HUB_TAGS,
    NAME_GRAMS,
    REPOSITORIES,
)
from registry.tables.reader import Reader

Sort = Literal["modified", "created", "downloads"]

MOST = 1000
"""Repositories on a page at most."""

_MOST_GRAMS = 12
_MOST_MARKS = 32
"""Tags and parts of words of a query that are counted, to find the rarest."""

_FEW = 2_000
"""A tag or word is rare if at most this many repositories have it. With 100,000 repositories, both
ways to a page take equally long at this number."""

# Each value of a row is checked, so none is asked for that nobody reads.
_ROWS = (
    select(
        *(
            REPOSITORIES.c[name]
            for name in ("id", "kind", "owner", "name", "account_id", "visibility", "created_at")
        ),
        DOWNLOADS.c.count.label("fetched"),
        HUB_LISTINGS.c.commit_id,
        HUB_LISTINGS.c.library,
        HUB_LISTINGS.c.pipeline_tag,
        HUB_LISTINGS.c.card,
    )
    .select_from(HUB_LISTINGS)
    .join(REPOSITORIES, REPOSITORIES.c.id == HUB_LISTINGS.c.repository_id)
    .outerjoin(DOWNLOADS, DOWNLOADS.c.repository_id == HUB_LISTINGS.c.repository_id)
    .where(HUB_LISTINGS.c.repository_id.in_(bindparam("ids", expanding=True)))
)

_KEYS = {
    "modified": HUB_LISTINGS.c.commit_id,
    "created": HUB_LISTINGS.c.repository_id,
    "downloads": HUB_LISTINGS.c.downloads,
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A repository on a page.

    Attributes:
        repository: The repository.
        head: The last commit on ``main``.
        facts: What is listed of it.
    """

    repository: Repository
    head: Commit
    facts: Facts


@dataclass(frozen=True, slots=True)
class Query:
    """The conditions of a page.

    Attributes:
        kind: The kind of the repositories.
        account_id: The id of their account; None for any.
        words: Parts of their names, all of which must occur, in upper or lower case.
        tags: Tags that they must have, all of them.
        pipeline_tag: The type of their task; None for any.
        sort: Which come first: the last changed, the last made, or the most fetched.
    """

    kind: Kind = "model"
    account_id: int | None = None
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    sort: Sort = "modified"

    @property
    def every_tag(self) -> tuple[str, ...]:
        """The tags, and the type of the task: a repository has this as a tag, too."""
        return (*self.tags, *(() if self.pipeline_tag is None else (self.pipeline_tag,)))


def list_page(
    connection: Connection, query: Query, reader: Reader, *, limit: int, after: str | None = None
) -> tuple[list[Listed], str | None]:
    """Return a page, and the cursor of the next one; None on the last.

    Args:
        connection: A transaction.
        query: The conditions.
        reader: The reader.
        limit: Repositories on the page, from 1 to `MOST`.
        after: The cursor of the page before; default: the first page.

    Raises:
        InvalidNameError: `limit` or `after` is malformed.
    """
    if not 1 <= limit <= MOST:
        raise InvalidNameError(f"A page has 1 to {MOST} repositories, not {limit}.", limit)
    rare = _rare(connection, query)
    conditions = _conditions(query, rare)
    if after is not None:
        key, id = _parse(after)
        conditions.append(row_of(_KEYS[query.sort], HUB_LISTINGS.c.repository_id) < row_of(key, id))
    found: list[tuple[int, int]] = []
    for whose in _walks(reader):
        statement = _walk(query, is_walk=rare is None).where(*conditions, whose).limit(limit + 1)
        found += [(row.key, row.id) for row in connection.execute(statement).all()]
    page = sorted(found, reverse=True)[:limit]
    listed = _load(connection, [id for _, id in page])
    return listed, f"{page[-1][0]}:{page[-1][1]}" if len(found) > limit else None


def _load(connection: Connection, ids: Sequence[int]) -> list[Listed]:
    """Return what is listed of some repositories, in this order."""
    found = cast(Sequence[Row[Any]], connection.execute(_ROWS, {"ids": [*ids]}).all())
    rows = {row.id: row for row in found}
    tags = load_tags(connection, ids)
    heads = load_commits(connection, [row.commit_id for row in rows.values()])
    return [
        Listed(
            repository_of(row),
            heads[row.commit_id],
            Facts(row.library, row.pipeline_tag, tuple(tags[row.id]), json.loads(row.card)),
        )
        for row in (rows[id] for id in ids)
    ]


def load_facts(connection: Connection, repository_id: int) -> Facts | None:
    """Return the listing of a repository; None if it has none."""
    row = connection.execute(
        select(HUB_LISTINGS).where(HUB_LISTINGS.c.repository_id == repository_id)
    ).first()
    if row is None:
        return None
    tags = load_tags(connection, [repository_id])[repository_id]
    return Facts(row.library, row.pipeline_tag, tuple(tags), json.loads(row.card))


def _rare(connection: Connection, query: Query) -> Select[int] | None:
    """Select the repositories that meet the rarest condition of the query; None if none is rare."""
    grams = [gram for word in query.words for gram in grams_of(word)[:_MOST_GRAMS]]
    having = [
        *(select(HUB_TAGS.c.repository_id).where(HUB_TAGS.c.tag == tag) for tag in query.every_tag),
        *(select(NAME_GRAMS.c.repository_id).where(NAME_GRAMS.c.gram == gram) for gram in grams),
    ][:_MOST_MARKS]
    if not having:
        return None
    some = [one.limit(_FEW + 1).subquery() for one in having]
    counted = (select(func.count()).select_from(one).scalar_subquery() for one in some)
    counts = connection.execute(select(*counted)).one()
    lowest, place = min((count, place) for place, count in enumerate(counts))
    return having[place] if lowest <= _FEW else None


def _walk(query: Query, *, is_walk: bool) -> Select[tuple[int, int]]:
    key = _KEYS[query.sort]
    # No index has the expression, so the database sorts the rows that were looked up.
    order = [key.desc() if is_walk else (key + 0).desc()]
    if key is not HUB_LISTINGS.c.repository_id:
        order.append(HUB_LISTINGS.c.repository_id.desc())
    found = select(key.label("key"), HUB_LISTINGS.c.repository_id.label("id")).order_by(*order)
    if query.words:  # which are looked for in the name
        found = found.join(REPOSITORIES, REPOSITORIES.c.id == HUB_LISTINGS.c.repository_id)
    return found


def _walks(reader: Reader) -> Sequence[ColumnElement[bool]]:
    public = HUB_LISTINGS.c.visibility == "public"
    private = HUB_LISTINGS.c.visibility == "private"
    if reader.everything:
        return [public, private]
    walks = [public]
    for account in sorted(reader.accounts):
        own = [HUB_LISTINGS.c.account_id == account, private]
        if reader.repositories is not None:
            own.append(HUB_LISTINGS.c.repository_id.in_(reader.repositories))
        walks.append(and_(*own))
    return walks


def _conditions(query: Query, rare: Select[int] | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [HUB_LISTINGS.c.kind == query.kind]
    if rare is not None:
        conditions.append(HUB_LISTINGS.c.repository_id.in_(rare))
    if query.account_id is not None:
        conditions.append(HUB_LISTINGS.c.account_id == query.account_id)
    if query.pipeline_tag is not None:
        conditions.append(HUB_LISTINGS.c.pipeline_tag == query.pipeline_tag)
    for tag in query.tags:
        conditions.append(
            exists().where(
                HUB_TAGS.c.tag == tag, HUB_TAGS.c.repository_id == HUB_LISTINGS.c.repository_id
            )
        )
    name = func.lower(REPOSITORIES.c.owner + "/" + REPOSITORIES.c.name)
    conditions += [name.contains(word.lower(), autoescape=True) for word in query.words]
    return conditions


def _parse(after: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,19}):([0-9]{1,10})", after)
    if found and int(found[1]) <= MAX_SIZE and int(found[2]) <= MAX_ID:
        return int(found[1]), int(found[2])
    raise InvalidNameError(f"A page starts after the cursor of another, not {after!r}.", after)
