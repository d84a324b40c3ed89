"""The statements that find pages, one for each combination of what can be asked.

They are made once: to build and compile one takes longer than to execute it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    bindparam,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy import tuple_ as row_of

from registry.database.prepared import Prepared
from registry.search.conditions import Meaning, has_base, is_measured, versions_of
from registry.tables.listings import LISTINGS
from registry.tables.models import table
from registry.tables.text_index import candidates

Sort = Literal["date", "score", "downloads"]

_TAGS = table("tags")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a page, without the values.

    Attributes:
        sort: What comes first.
        later: Whether it is after another page, which ended at ``key`` and ``number``.
        exact: Columns of the listings that equal the value of their name.
        base: What ``base`` means; empty if any will do.
        sized: Whether adapters have at most ``max_size`` bytes.
        on_dataset: Whether they were measured on ``dataset``.
        comparison: How ``metric`` compares with ``bound``, or None.
        tagged: Whether they have ``tag``.
        text_in: The dialect to look for ``words`` in, or None.
    """

    sort: Sort
    later: bool
    exact: tuple[str, ...]
    base: tuple[Meaning, ...]
    sized: bool
    on_dataset: bool
    comparison: str | None
    tagged: bool
    text_in: str | None

    @property
    def is_only_text(self) -> bool:
        """Whether words are all that adapters are chosen by."""
        others = (self.exact, self.base, self.sized, self.on_dataset, self.comparison, self.tagged)
        return self.text_in is not None and not any(others)


@lru_cache(maxsize=512)
def page_statement(asked: Asked) -> Prepared:
    """Return what selects the versions of a page, the key it is sorted by after their columns."""
    by_date = asked.sort == "date"
    if by_date and asked.text_in is not None and asked.is_only_text:
        page = _first_listed(candidates(asked.text_in, asked.later))
        return Prepared(versions_of(page, extra=("key",)))
    source, newest, conditions = _source(asked)
    conditions += [LISTINGS.c[name] == bindparam(name) for name in asked.exact]
    if asked.base:
        conditions.append(has_base(asked.base))
    if asked.sized:
        conditions.append(LISTINGS.c.size <= bindparam("max_size"))
    if asked.on_dataset or asked.comparison is not None:
        conditions.append(is_measured(asked.on_dataset, asked.comparison))
    order = [newest] if by_date else [LISTINGS.c[asked.sort], newest]
    if asked.later:
        ends: list[ColumnElement[Any]] = [
            bindparam(name) for name in (["number"] if by_date else ["key", "number"])
        ]
        conditions.append(row_of(*order) < row_of(*ends))
    key = literal(0) if by_date else LISTINGS.c[asked.sort]
    page = (
        select(newest.label("revision_id"), key.label("key"))
        .select_from(source)
        .where(*conditions)
        .order_by(*(column.desc() for column in order))
        .limit(bindparam("limit"))
    )
    return Prepared(versions_of(page, extra=("key",)))


@lru_cache(maxsize=16)
def rest_statement(dialect: str, later: bool) -> Prepared:
    """Return what counts the candidates that a page looked through, and selects the last one."""
    found = candidates(dialect, later).subquery()
    return Prepared(select(func.count(), func.min(found.c.rowid)).select_from(found))


def _source(asked: Asked) -> tuple[FromClause, ColumnElement[int], list[ColumnElement[bool]]]:
    """Return what to walk along, its column of revisions' ids, and conditions on it."""
    if asked.text_in is not None:
        found = candidates(asked.text_in, asked.later and asked.sort == "date").subquery()
        newest = found.c.rowid
        tagged = exists().where(_TAGS.c.revision_id == newest, _TAGS.c.tag == bindparam("tag"))
        source = found.join(LISTINGS, LISTINGS.c.revision_id == newest)
        return source, newest, [tagged] if asked.tagged else []
    if asked.tagged:
        newest = _TAGS.c.revision_id
        source = _TAGS.join(LISTINGS, LISTINGS.c.revision_id == newest)
        return source, newest, [_TAGS.c.tag == bindparam("tag")]
    return LISTINGS, LISTINGS.c.revision_id, []


def _first_listed(words: "Select[int]") -> "Select[Any]":
    """Take candidates one by one until there are enough, however many more there would be."""
    (rowid,) = words.selected_columns
    return (
        words.with_only_columns(rowid.label("revision_id"), literal(0).label("key"))
        .where(exists().where(LISTINGS.c.revision_id == rowid).correlate(rowid.table))
        .limit(bindparam("limit", type_=Integer))
    )
