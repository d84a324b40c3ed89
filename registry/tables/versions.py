"""A published version as people list it, and how to load many without a query for each."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias, TypeVar

import sqlalchemy
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Integer,
    Select,
    String,
    bindparam,
    cast,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from registry.database.prepared import Prepared, Transaction
from registry.manifest import Metric
from registry.refs import AdapterRef
from registry.tables.models import table

# Without the ORM, which takes longer to make objects of a page of rows than to find them.
REPOSITORIES = table("repositories")
REVISIONS = table("revisions")


Parts: TypeAlias = tuple[list[str], list[tuple[int, str]], list[tuple[int, Metric]]]


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable published version of an adapter.

    Attributes:
        ref: Its name and number.
        manifest_digest: SHA-256 of its manifest: its identity everywhere.
        created_at: When it was first published, in UTC.
        author: Who published it.
        message: What they said about it; may be empty.
        kind: ``adapter``, ``fusion``, ``stack`` or ``mix``.
        method: For example ``seq_bn`` or ``lora``.
        base_model: The base model's id.
        base_fingerprint: Digest of the base model's tensors, if known.
        task: What it does.
        task_type: How, for example ``text-classification``.
        language: BCP 47 tag.
        license: SPDX identifier.
        description: For people.
        size: Bytes of all its files.
        tags: In the manifest's order.
        metrics: In the manifest's order.
        aliases: Names that point to it now, sorted.
        yanked_at: When it was yanked; None if it was not.
        yank_reason: Why.
    """

    ref: AdapterRef
    manifest_digest: str
    created_at: datetime
    author: str
    message: str
    kind: str
    method: str
    base_model: str
    base_fingerprint: str | None
    task: str | None
    task_type: str | None
    language: str | None
    license: str | None
    description: str
    size: int
    tags: tuple[str, ...]
    metrics: tuple[Metric, ...]
    aliases: tuple[str, ...]
    yanked_at: datetime | None
    yank_reason: str | None

    @property
    def number(self) -> int:
        """The version number."""
        assert self.ref.version is not None
        return self.ref.version

    @property
    def yanked(self) -> bool:
        """Whether it is hidden: found only by its number."""
        return self.yanked_at is not None


VersionSelect: TypeAlias = "Select[Any]"
Row: TypeAlias = Sequence[Any]
"""The columns of a version, and what else was asked for after them."""
_Row = TypeVar("_Row", bound=Row)

_COLUMNS = (
    REVISIONS.c.id,
    REPOSITORIES.c.owner,
    REPOSITORIES.c.name,
    REVISIONS.c.number,
    REVISIONS.c.manifest_digest,
    REVISIONS.c.created_at,
    REVISIONS.c.author,
    REVISIONS.c.message,
    REVISIONS.c.kind,
    REVISIONS.c.method,
    REVISIONS.c.base_model,
    REVISIONS.c.base_fingerprint,
    REVISIONS.c.task,
    REVISIONS.c.task_type,
    REVISIONS.c.language,
    REVISIONS.c.license,
    REVISIONS.c.description,
    REVISIONS.c.size,
    REVISIONS.c.yanked_at,
    REVISIONS.c.yank_reason,
)


WIDTH = len(_COLUMNS)
"""How many columns a version has."""


def select_versions() -> VersionSelect:
    """Select all versions; add conditions, an order and a limit, then `load_versions`."""
    return (
        select(*_COLUMNS)
        .join_from(REVISIONS, REPOSITORIES, REVISIONS.c.repository_id == REPOSITORIES.c.id)
        .where(REVISIONS.c.number.is_not(None), REPOSITORIES.c.deleted_at.is_(None))
    )


def load_versions(session: Session, statement: VersionSelect) -> list[tuple[int, Version]]:
    """Return revision ids and versions in the statement's order, with two queries in all."""
    return [(row[0], version) for row, version in load_rows(session, statement)]


def load_rows(
    session: Session, statement: VersionSelect
) -> "list[tuple[sqlalchemy.Row[Any], Version]]":
    """As `load_versions`, with the rows, which may have more columns after a version's."""
    return _with_parts(Transaction.of(session), session.execute(statement).all())


def look_up(
    transaction: Transaction, statement: Prepared, **values: Any
) -> list[tuple[Row, Version]]:
    """As `load_rows`, of a prepared statement."""
    return _with_parts(transaction, statement.rows(transaction, **values))


def load_version(session: Session, revision_id: int) -> Version:
    """Return one version, which must exist."""
    ((_, version),) = look_up(Transaction.of(session), _BY_ID, id=revision_id)
    return version


def load_digests(session: Session, digests: Collection[str]) -> dict[str, Version]:
    """Return the versions with these manifests by digest, the first published of several."""
    statement = (
        select_versions()
        .where(REVISIONS.c.manifest_digest.in_(digests))
        .order_by(REVISIONS.c.id.desc())
    )
    # Newest first, so that the first published one is the one that stays.
    return {version.manifest_digest: version for _, version in load_versions(session, statement)}


_BY_ID = Prepared(select_versions().where(REVISIONS.c.id == bindparam("id")))


def _with_parts(transaction: Transaction, rows: Sequence[_Row]) -> list[tuple[_Row, Version]]:
    if not rows:
        return []
    parts = load_parts(transaction, [row[0] for row in rows])
    return [(row, _version(row, parts[row[0]])) for row in rows]


def _version(row: Row, parts: Parts) -> Version:
    aliases, tags, metrics = parts
    (
        _id, owner, name, number, manifest_digest, created_at, author, message, kind, method,
        base_model, base_fingerprint, task, task_type, language, license, description, size,
        yanked_at, yank_reason,
    ) = row[:WIDTH]  # fmt: skip
    return Version(
        ref=AdapterRef(owner, name, version=number),
        manifest_digest=manifest_digest,
        created_at=utc_time(created_at),
        author=author,
        message=message,
        kind=kind,
        method=method,
        base_model=base_model,
        base_fingerprint=base_fingerprint,
        task=task,
        task_type=task_type,
        language=language,
        license=license,
        description=description,
        size=size,
        tags=tuple(tag for _, tag in sorted(tags)),
        metrics=tuple(metric for _, metric in sorted(metrics, key=lambda pair: pair[0])),
        aliases=tuple(sorted(aliases)),
        yanked_at=None if yanked_at is None else utc_time(yanked_at),
        yank_reason=yank_reason,
    )


def utc_time(value: datetime | str) -> datetime:
    """Return what a database stored as UTC; SQLite's driver returns the text."""
    if isinstance(value, str):
        return datetime.fromisoformat(f"{value}+00:00")
    return value.replace(tzinfo=UTC)


_TAGS = table("tags")
_METRICS = table("metrics")
_REFS = table("refs")

_ALIAS, _TAG, _METRIC = range(3)
_NO_TEXT, _NO_NUMBER, _NO_TRUTH = (cast(null(), kind) for kind in (String, Double, Boolean))


def _select_parts(condition: Callable[[ColumnElement[int]], ColumnElement[bool]]) -> Any:
    """Select what there may be several of in one query: aliases, tags and metrics."""
    return union_all(
        select(
            _REFS.c.revision_id.label("revision_id"),
            literal(_ALIAS).label("kind"),
            literal(0).label("position"),
            _REFS.c.name.label("name"),
            _NO_TEXT.label("dataset"),
            _NO_TEXT.label("split"),
            _NO_NUMBER.label("value"),
            _NO_TRUTH.label("higher_is_better"),
        ).where(condition(_REFS.c.revision_id)),
        select(
            _TAGS.c.revision_id,
            literal(_TAG),
            _TAGS.c.position,
            _TAGS.c.tag,
            _NO_TEXT,
            _NO_TEXT,
            _NO_NUMBER,
            _NO_TRUTH,
        ).where(condition(_TAGS.c.revision_id)),
        select(
            _METRICS.c.revision_id,
            literal(_METRIC),
            _METRICS.c.position,
            _METRICS.c.name,
            _METRICS.c.dataset,
            _METRICS.c.split,
            _METRICS.c.value,
            _METRICS.c.higher_is_better,
        ).where(condition(_METRICS.c.revision_id)),
    )


@cache
def _parts_of(count: int) -> Prepared:
    """Return the statement for that many revisions."""
    return Prepared(
        _select_parts(
            lambda column: column.in_(
                [bindparam(f"id_{place}", type_=Integer) for place in range(count)]
            )
        )
    )


def load_parts(transaction: Transaction, ids: Sequence[int]) -> dict[int, Parts]:
    """Return aliases, and tags and metrics with their positions, of every revision."""
    parts: dict[int, Parts] = {revision_id: ([], [], []) for revision_id in ids}
    _add_parts(parts, _part_rows(transaction, ids))
    return parts


def _part_rows(transaction: Transaction, ids: Sequence[int]) -> list[tuple[Any, ...]]:
    # Filled up to a power of two, so that there are few statements to compile.
    count = 1 << (len(ids) - 1).bit_length()
    padded = [*ids, *[ids[-1]] * (count - len(ids))]
    return _parts_of(count).rows(
        transaction, **{f"id_{place}": value for place, value in enumerate(padded)}
    )


def _add_parts(parts: dict[int, Parts], rows: Iterable[Sequence[Any]]) -> None:
    for row in rows:
        revision_id, kind, position, name, dataset, split, value, higher_is_better = row
        aliases, tags, metrics = parts[revision_id]
        if kind == _ALIAS:
            aliases.append(name)
        elif kind == _TAG:
            tags.append((position, name))
        else:
            metric = Metric(
                dataset=dataset,
                split=split,
                name=name,
                value=value,
                higher_is_better=higher_is_better,
            )
            metrics.append((position, metric))
