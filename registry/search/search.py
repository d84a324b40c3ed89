"""Find adapters by their facts.

A page is one walk along an index of the listings, from where the page before it ended. So a late
page costs what the first one does, and a large registry costs what a small one does.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import InvalidNameError
from registry.fields import check_texts
from registry.refs import fold_owner
from registry.search.conditions import Threshold, has_base, is_measured
from registry.search.pages import Asked, End, Sort, last_candidate, select_page
from registry.tables.column_types import MAX_ID, MAX_SIZE
from registry.tables.models import LISTINGS
from registry.tables.text_index import Words
from registry.tables.versions import WIDTH, Version, load_rows

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog


_SCORE = re.compile(r"-?(?:inf|[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[-+]?[0-9]{1,3})?)")
"""A float as Python writes it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of results.

    Attributes:
        items: The newest version of each adapter that is not yanked, in the order of the query.
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
    """Find adapters whose newest version meets all conditions.

    It takes at most four statements, for a late page as for the first.

    Args:
        catalog: The registry.
        text: Words that all occur in the name, task, base model, tags or description; the last
            one may be unfinished, unless a thousand versions have it as it is. Of the versions
            with these words, a page looks through the newest 5,000: by date, a page
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
        owner: The owner, in any spelling.
        max_size: At most this many bytes of files.
        metric: A bound, as `Threshold.parse` reads it.
        dataset: Only adapters measured on it; with `metric`, the bound must hold there.
        sort: ``date`` (latest published first), ``score`` (highest first: the first metric that
            is better when higher) or ``downloads`` (most first); default: by date.
        limit: At most this many on a page, from 1 to 1000; default: 50.
        after: `Page.next` of the page before, with everything else as it was; default: the first.

    Raises:
        InvalidNameError: `owner`, `metric`, `limit`, `max_size` or `after` is malformed, or a text
            cannot be stored, so that nothing has it.
    """
    if not 1 <= limit <= 1000:
        raise InvalidNameError(f"A page has 1 to 1000 adapters, not {limit}.", limit)
    if max_size is not None and not 0 <= max_size <= MAX_SIZE:
        raise InvalidNameError(f"A size is from 0 to {MAX_SIZE} bytes, not {max_size}.", max_size)
    check_texts(
        base=base,
        task=task,
        task_type=task_type,
        method=method,
        kind=kind,
        language=language,
        license=license,
        tag=tag,
        metric=metric,
        dataset=dataset,
    )
    end = None if after is None else _parse_cursor(sort, after)
    exact = {
        LISTINGS.c.task: task,
        LISTINGS.c.task_type: task_type,
        LISTINGS.c.method: method,
        LISTINGS.c.kind: kind,
        LISTINGS.c.language: language,
        LISTINGS.c.license: license,
        LISTINGS.c.owner: None if owner is None else fold_owner(owner),
    }
    conditions = [column == value for column, value in exact.items() if value is not None]
    if max_size is not None:
        conditions.append(LISTINGS.c.size <= max_size)
    threshold = None if metric is None else Threshold.parse(metric)
    if dataset is not None or threshold is not None:
        conditions.append(is_measured(dataset, threshold))
    with catalog.database.read() as connection:
        of_base = None if base is None else has_base(connection, base)
        words = None if text is None else Words.read(connection.dialect.name, text)
        if (base is not None and of_base is None) or (text is not None and words is None):
            return Page((), None)
        if of_base is not None:
            conditions.append(of_base)
        asked = Asked(sort, end, words, tag, tuple(conditions))
        rows = load_rows(connection, select_page(asked, limit + 1))
        following = None
        if len(rows) > limit:
            last = rows[limit - 1][0]
            key, number = last[WIDTH], last[0]
            following = str(number) if sort == "date" else f"{key!r}:{number}"
        elif words is not None and sort == "date" and not asked.is_only_text:
            lowest = last_candidate(connection, words, end)
            following = None if lowest is None else str(lowest)
    return Page(tuple(version for _, version in rows[:limit]), following)


def _parse_cursor(sort: Sort, after: str) -> End:
    key, _, number = after.rpartition(":")
    if re.fullmatch(r"[0-9]{1,10}", number) and int(number) <= MAX_ID:
        if sort == "date" and not key:
            return End(0, int(number))
        if sort == "downloads" and re.fullmatch(r"[0-9]{1,19}", key) and int(key) <= MAX_SIZE:
            return End(int(key), int(number))
        if sort == "score" and _SCORE.fullmatch(key):
            return End(float(key), int(number))
    raise InvalidNameError(f"A page starts after a Page.next, not after {after!r}.", after)
