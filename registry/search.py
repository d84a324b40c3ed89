"""Finding adapters by what they do and what they are made for."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import aliased

from registry.errors import InvalidNameError
from registry.refs import AdapterRef
from registry.tables.models import Repository, Revision, RevisionTag
from registry.tables.text_index import matching_ids
from registry.tables.versions import Version, load_versions, select_versions

if TYPE_CHECKING:
    from registry.catalog import Catalog

_FINGERPRINT_PREFIX = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the adapters found.

    Attributes:
        items: The newest version of each adapter that is not yanked, latest published first.
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
    tag: str | None = None,
    kind: str | None = None,
    owner: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Page:
    """Find adapters whose newest version matches everything that is given.

    Costs four queries whatever the page, and the same for a late page as for the first.

    Args:
        catalog: Where to look.
        text: Words that all occur in the name, task, base model, tags or description; the last
            one may be unfinished.
        base: The base model's id, the last component of it, or at least 8 digits of its
            fingerprint.
        task: The exact task.
        task_type: The exact task type.
        method: The exact method type.
        tag: One of the tags.
        kind: ``adapter``, ``fusion``, ``stack`` or ``mix``.
        owner: Whose adapters, in any spelling that folds to the same name.
        limit: At most this many on a page, from 1 to 1000; default: 50.
        after: `Page.next` of the page before; default: the first page.

    Raises:
        InvalidNameError: `owner`, `limit` or `after` is malformed.
    """
    if not 1 <= limit <= 1000:
        raise InvalidNameError(f"A page has 1 to 1000 adapters, not {limit}.", limit)
    conditions: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (Revision.task, task),
            (Revision.task_type, task_type),
            (Revision.method, method),
            (Revision.kind, kind),
        )
        if value is not None
    ]
    if text is not None:
        matching = matching_ids(text)
        if matching is None:
            return Page((), None)
        conditions.append(Revision.id.in_(matching))
    if base is not None:
        conditions.append(_has_base(base))
    if tag is not None:
        conditions.append(
            Revision.id.in_(select(RevisionTag.revision_id).where(RevisionTag.tag == tag))
        )
    if owner is not None:
        prefix = AdapterRef(owner, "x").folded.removesuffix("x")
        conditions.append(Repository.folded.startswith(prefix, autoescape=True))
    if after is not None:
        conditions.append(Revision.id < _parse_cursor(after))
    statement = (
        select_versions()
        .where(Revision.yanked_at.is_(None), ~_has_newer(), *conditions)
        .order_by(Revision.id.desc())
        .limit(limit + 1)
    )
    with catalog.database.read() as session:
        found = load_versions(session, statement)
    more = len(found) > limit
    found = found[:limit]
    return Page(tuple(version for _, version in found), str(found[-1][0]) if more else None)


def _has_newer() -> ColumnElement[bool]:
    newer = aliased(Revision)
    return (
        select(newer.id)
        .where(
            newer.repository_id == Revision.repository_id,
            newer.number > Revision.number,
            newer.yanked_at.is_(None),
        )
        .exists()
    )


def _has_base(base: str) -> ColumnElement[bool]:
    named = or_(Revision.base_model == base, Revision.base_name == base)
    if _FINGERPRINT_PREFIX.fullmatch(base):
        # A range rather than LIKE, which SQLite answers without the index.
        within = (Revision.base_fingerprint >= base) & (Revision.base_fingerprint < f"{base}g")
        return or_(named, within)
    return named


def _parse_cursor(after: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", after):
        raise InvalidNameError(f"A page starts after a Page.next, not after {after!r}.", after)
    return int(after)
