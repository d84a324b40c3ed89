"""Finding adapters by what they do and what they are made for.

A page is one walk along an index of the listings, from where the page before it ended, so a late
page costs what the first one does, in a registry of a million adapters as in one of ten.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, Connection, FromClause, Select, exists, func, literal, select
from sqlalchemy import tuple_ as row_of

from registry.errors import InvalidNameError
from registry.refs import AdapterRef
from registry.tables.conditions import has_base, is_measured, versions_of
from registry.tables.listings import LISTINGS, NO_SCORE
from registry.tables.models import table
from registry.tables.text_index import MOST_CANDIDATES, candidates
from registry.tables.versions import Version, load_rows

if TYPE_CHECKING:
    from registry.catalog import Catalog

Sort = Literal["date", "score", "downloads"]

_TAGS = table("tags")


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the adapters found.

    Attributes:
        items: The newest version of each adapter that is not yanked, in the order asked for.
        next: Pass it as `after` to get the following page; None on the last one.
    """

    items: tuple[Version, ...]
    next: str | None


def search(
    catalog: "Catalog",
    *,
    text: str | None = None,
    base: str | None = None,
    task: str | None = None,
    task_type: str | None = None,
    method: str | None = None,
    kind: str | None = None,
    language: str | None = None,
    license: str | None = None,
    tag: str | None = None,
    owner: str | None = None,
    max_size: int | None = None,
    metric: str | None = None,
    dataset: str | None = None,
    sort: Sort = "date",
    limit: int = 50,
    after: str | None = None,
) -> Page:
    """Find adapters whose newest version matches everything that is given.

    Costs at most four statements whatever the page, and the same for a late page as for the first.

    Args:
        catalog: Where to look.
        text: Words that all occur in the name, task, base model, tags or description; the last
            one may be unfinished. Of the versions with these words, a page looks through the
            newest `MOST_CANDIDATES`: by date, a page may be short and still have a `next`; by score
            or downloads, these are all that is sorted.
        base: The base model's id, the last component of it, its family such as ``bert``, or at
            least 8 digits of its fingerprint.
        task: The exact task.
        task_type: The exact task type.
        method: The exact method type.
        kind: ``adapter``, ``fusion``, ``stack`` or ``mix``.
        language: The exact language tag.
        license: The exact license.
        tag: One of the tags.
        owner: Whose adapters, in any spelling that folds to the same name.
        max_size: At most this many bytes of files.
        metric: A bound, as `Threshold.parse` reads it.
        dataset: Only adapters measured on it; with `metric`, the bound must hold there.
        sort: ``date`` (latest published first), ``score`` (highest first: the first metric that
            is better when higher) or ``downloads`` (most first); default: by date.
        limit: At most this many on a page, from 1 to 1000; default: 50.
        after: `Page.next` of the page before, with everything else as it was; default: the first.

    Raises:
        InvalidNameError: `owner`, `metric`, `limit` or `after` is malformed.
    """
    if not 1 <= limit <= 1000:
        raise InvalidNameError(f"A page has 1 to 1000 adapters, not {limit}.", limit)
    key, number = _parse_cursor(sort, after)
    exact = {
        "task": task,
        "task_type": task_type,
        "method": method,
        "kind": kind,
        "language": language,
        "license": license,
        "owner": None if owner is None else AdapterRef(owner, "x").folded.partition("/")[0],
    }
    conditions = [LISTINGS.c[name] == value for name, value in exact.items() if value is not None]
    if max_size is not None:
        conditions.append(LISTINGS.c.size <= max_size)
    if metric is not None or dataset is not None:
        conditions.append(is_measured(metric, dataset))
    with catalog.database.look_up() as connection:
        if base is not None:
            conditions.append(has_base(connection, base))
        source: FromClause = LISTINGS
        newest: ColumnElement[int] = LISTINGS.c.revision_id
        words = None
        if text is not None:
            words = candidates(
                connection.dialect.name, text, before=number if sort == "date" else None
            )
            if words is None:
                return Page((), None)
            found = words.subquery()
            newest = found.c.rowid
            source = found.join(LISTINGS, LISTINGS.c.revision_id == found.c.rowid)
        elif tag is not None:
            newest = _TAGS.c.revision_id
            source = _TAGS.join(LISTINGS, LISTINGS.c.revision_id == _TAGS.c.revision_id)
            conditions.append(_TAGS.c.tag == tag)
        if text is not None and tag is not None:
            tagged = exists().where(_TAGS.c.revision_id == newest, _TAGS.c.tag == tag)
            conditions.append(tagged)
        by_date = sort == "date"
        is_alone = words is not None and by_date and not conditions
        order = [newest] if by_date else [LISTINGS.c[sort], newest]
        if number is not None:
            bounds = [number] if by_date else [key, number]
            conditions.append(row_of(*order) < row_of(*map(literal, bounds)))
        page = (
            select(
                newest.label("revision_id"),
                (literal(0) if by_date else LISTINGS.c[sort]).label("key"),
            )
            .select_from(source)
            .where(*conditions)
            .order_by(*(column.desc() for column in order))
            .limit(limit + 1)
        )
        if words is not None and is_alone:
            page = _first_listed(words, limit + 1)
        rows = load_rows(connection, versions_of(page))
        following = None
        if len(rows) > limit:
            last = rows[limit - 1][0]
            following = str(last.id) if by_date else f"{last.key!r}:{last.id}"
        elif words is not None and by_date and not is_alone:
            following = _rest(connection, words)
    return Page(tuple(version for _, version in rows[:limit]), following)


def _first_listed(words: "Select[int]", limit: int) -> "Select[Any]":
    """Take candidates one by one until there are enough, however many more there would be."""
    (rowid,) = words.selected_columns
    return (
        words.with_only_columns(rowid.label("revision_id"), literal(0).label("key"))
        .where(exists().where(LISTINGS.c.revision_id == rowid).correlate(rowid.table))
        .limit(limit)
    )


def _rest(connection: Connection, words: "Select[int]") -> str | None:
    """Return where the next candidates begin, if these were as many as a page looks through."""
    found = words.subquery()
    count, lowest = connection.execute(select(func.count(), func.min(found.c.rowid))).one()
    return str(lowest) if count == MOST_CANDIDATES else None


def _parse_cursor(sort: Sort, after: str | None) -> tuple[float, int | None]:
    if after is None:
        return NO_SCORE, None
    key, _, number = after.rpartition(":")
    try:
        if re.fullmatch(r"[0-9]{1,18}", number) and (not key) == (sort == "date"):
            return (int(key) if sort == "downloads" else float(key)) if key else 0, int(number)
    except ValueError:
        pass
    raise InvalidNameError(f"A page starts after a Page.next, not after {after!r}.", after)
