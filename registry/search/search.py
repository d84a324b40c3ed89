"""Finding adapters by what they do and what they are made for.

A page is one walk along an index of the listings, from where the page before it ended, so a late
page costs what the first one does, in a registry of a million adapters as in one of ten.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.database.prepared import Transaction
from registry.errors import InvalidNameError
from registry.refs import AdapterRef
from registry.search.conditions import Meaning, Threshold, find_base
from registry.search.pages import Asked, Sort, page_statement, rest_statement
from registry.tables.text_index import query
from registry.tables.versions import WIDTH, Version, look_up

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog

MOST_CANDIDATES = 5_000
"""How many of the newest versions with the words a page looks through."""


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
            one may be unfinished, unless a thousand versions have it as it is. Of the versions
            with these words, a page looks through the newest `MOST_CANDIDATES`: by date, a page
            may be short and still have a `next`; by score or downloads, these are all that is
            sorted.
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
    values: dict[str, Any] = {"limit": limit + 1}
    if after is not None:
        values["key"], values["number"] = _parse_cursor(sort, after)
    exact = {
        "task": task,
        "task_type": task_type,
        "method": method,
        "kind": kind,
        "language": language,
        "license": license,
        "owner": None if owner is None else AdapterRef(owner, "x").folded.partition("/")[0],
    }
    others: dict[str, Any] = {"max_size": max_size, "dataset": dataset, "tag": tag}
    given = {name: value for name, value in (exact | others).items() if value is not None}
    threshold = None if metric is None else Threshold.parse(metric)
    if threshold is not None:
        values |= {"metric": threshold.metric, "bound": threshold.value}
    with catalog.database.look_up() as transaction:
        meanings: tuple[Meaning, ...] = ()
        if base is not None:
            meanings, found = find_base(transaction, base)
            if not meanings:
                return Page((), None)
            values |= found
        if text is not None:
            words = query(transaction.dialect.name, text)
            if words is None:
                return Page((), None)
            values |= words | {"most": MOST_CANDIDATES}
        asked = Asked(
            sort=sort,
            later=after is not None,
            exact=tuple(name for name in exact if name in given),
            base=meanings,
            sized=max_size is not None,
            on_dataset=dataset is not None,
            comparison=None if threshold is None else threshold.comparison,
            tagged=tag is not None,
            text_in=None if text is None else transaction.dialect.name,
        )
        values |= given
        rows = look_up(transaction, page_statement(asked), **values)
        following = None
        if len(rows) > limit:
            last = rows[limit - 1][0]
            key, number = last[WIDTH], last[0]
            following = str(number) if sort == "date" else f"{key!r}:{number}"
        elif text is not None and sort == "date" and not asked.is_only_text:
            following = _rest(transaction, asked, values)
    return Page(tuple(version for _, version in rows[:limit]), following)


def _rest(transaction: Transaction, asked: Asked, values: dict[str, Any]) -> str | None:
    """Return where the next candidates begin, if these were as many as a page looks through."""
    statement = rest_statement(transaction.dialect.name, asked.later)
    ((count, lowest),) = statement.rows(transaction, **values)
    return str(lowest) if count == MOST_CANDIDATES else None


def _parse_cursor(sort: Sort, after: str) -> tuple[float, int]:
    key, _, number = after.rpartition(":")
    try:
        if re.fullmatch(r"[0-9]{1,18}", number) and (not key) == (sort == "date"):
            return (int(key) if sort == "downloads" else float(key)) if key else 0, int(number)
    except ValueError:
        pass
    raise InvalidNameError(f"A page starts after a Page.next, not after {after!r}.", after)
