"""A published version as lists show it, and how to load many without a query for each."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)

from registry.manifest import Metric
from registry.refs import DELETED, AdapterRef
from registry.tables.models import METRICS, REFS, REPOSITORIES, REVISIONS, TAGS

Parts: TypeAlias = tuple[list[str], list[tuple[int, str]], list[tuple[int, Metric]]]


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable published version of an adapter.

    Attributes:
        ref: Its name and number.
        manifest_digest: SHA-256 of its manifest: its identity everywhere.
        created_at: When it was first published, in UTC.
        author: Who published it.
        message: Its message; may be empty.
        kind: ``adapter``, ``fusion``, ``stack`` or ``mix``.
        method: For example ``seq_bn`` or ``lora``.
        base_model: The base model's id.
        base_fingerprint: Digest of the base model's tensors, if known.
        task: The task, in words of its author.
        task_type: Its type, for example ``text-classification``.
        language: BCP 47 tag.
        license: SPDX identifier.
        description: A text for people.
        size: Bytes of all its files.
        tags: In the manifest's order.
        metrics: In the manifest's order.
        aliases: Names that point to it now, sorted.
        yanked_at: When it was yanked; None if it was not.
        yank_reason: The reason of the yank.
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


Value = TypeVar("Value")
VersionSelect: TypeAlias = Select[*tuple[Any, ...]]
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

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
"""The number of columns of a version."""


def select_versions() -> VersionSelect:
    """Select all versions; add conditions, an order and a limit, then `load_versions`."""
    return (
        select(*_COLUMNS)
        .join_from(REVISIONS, REPOSITORIES, REVISIONS.c.repository_id == REPOSITORIES.c.id)
        .where(REVISIONS.c.number.is_not(None), REPOSITORIES.c.deleted_at.is_(None))
    )


def load_versions(connection: Connection, statement: VersionSelect) -> list[Version]:
    """Return versions in the statement's order, with two queries in all."""
    return [version for _, version in load_rows(connection, statement)]


def load_rows(
    connection: Connection, statement: VersionSelect, values: Mapping[str, Any] | None = None
) -> list[tuple[AnyRow, Version]]:
    """As `load_versions`, with the rows, which may have more columns after a version's.

    Args:
        connection: A transaction.
        statement: The result of `select_versions`, with conditions.
        values: The parameters of the statement.
    """
    rows = connection.execute(statement, values).all()
    parts = load_parts(connection, [row[0] for row in rows])
    return [(row, _version(row, parts[row[0]])) for row in rows]


def load_newest(
    connection: Connection, repository_id: int, limit: int, *, before: int | None = None
) -> list[Version]:
    """Return the newest versions of a repository, yanked ones too, the newest first.

    Args:
        connection: A transaction.
        repository_id: The repository's row.
        limit: The most versions to return.
        before: Return only versions with a lower number; default: all.
    """
    statement = select_versions().where(REVISIONS.c.repository_id == repository_id)
    if before is not None:
        statement = statement.where(REVISIONS.c.number < before)
    ordered = statement.order_by(REVISIONS.c.number.desc()).limit(limit)
    return load_versions(connection, ordered)


def newest_number(connection: Connection, repository_id: int) -> int | None:
    """Return the number of the newest version that is not yanked; None if there is none."""
    found: int | None = connection.scalar(
        select(func.max(REVISIONS.c.number)).where(
            REVISIONS.c.repository_id == repository_id, REVISIONS.c.yanked_at.is_(None)
        )
    )
    return found


def aliased_number(connection: Connection, repository_id: int, alias: str) -> int | None:
    """Return the number of the version that an alias means; None if there is no such alias."""
    found: int | None = connection.scalar(
        select(REVISIONS.c.number)
        .join(REFS, REFS.c.revision_id == REVISIONS.c.id)
        .where(REFS.c.repository_id == repository_id, REFS.c.name == alias)
    )
    return found


def load_aliases(connection: Connection, repository_id: int) -> list[tuple[str, int]]:
    """Return the aliases of a repository by name, each with the number of its version."""
    rows = connection.execute(
        select(REFS.c.name, REVISIONS.c.number)
        .join(REVISIONS, REVISIONS.c.id == REFS.c.revision_id)
        .where(REFS.c.repository_id == repository_id, REVISIONS.c.number.is_not(None))
        .order_by(REFS.c.name)
    )
    return [(row.name, row.number) for row in rows]


def load_version(connection: Connection, revision_id: int) -> Version:
    """Return one version, which must exist."""
    statement = select_versions().where(REVISIONS.c.id == revision_id)
    (version,) = load_versions(connection, statement)
    return version


def load_digests(
    connection: Connection, digests: Collection[str], readable: ColumnElement[bool] | None = None
) -> dict[str, Version]:
    """Return the versions with these manifests by digest, the first published of several.

    A version with a name comes before the remains of a deleted adapter.

    Args:
        connection: A transaction.
        digests: The digests of the manifests.
        readable: The condition on the repositories to look in; default: all of them.
    """
    has_name = REPOSITORIES.c.owner.is_distinct_from(DELETED)
    newest_first = select_versions().order_by(has_name, REVISIONS.c.id.desc())
    if readable is not None:
        newest_first = newest_first.where(readable)
    found: dict[str, Version] = {}
    for batch in batches(digests):
        statement = newest_first.where(REVISIONS.c.manifest_digest.in_(batch))
        # Of several, the last one stays.
        found.update((one.manifest_digest, one) for one in load_versions(connection, statement))
    return found


def _version(row: AnyRow, parts: Parts) -> Version:
    aliases, tags, metrics = parts
    (
        _id, owner, name, number, manifest_digest, created_at, author, message, kind, method,
        base_model, base_fingerprint, task, task_type, language, license, description, size,
        yanked_at, yank_reason,
    ) = row[:WIDTH]  # fmt: skip
    return Version(
        ref=AdapterRef(owner, name, version=number),
        manifest_digest=manifest_digest,
        created_at=created_at,
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
        yanked_at=yanked_at,
        yank_reason=yank_reason,
    )


_ALIAS, _TAG, _METRIC = range(3)
# With the types of the columns, which check values: a union has the types of its first part.
_NO_TEXT, _NO_NUMBER, _NO_TRUTH = (
    cast(null(), column.type)
    for column in (METRICS.c.dataset, METRICS.c.value, METRICS.c.higher_is_better)
)


def _is_asked_for(revision_id: ColumnElement[int]) -> ColumnElement[bool]:
    return revision_id.in_(bindparam("ids", expanding=True))


# Aliases, tags and metrics in one query. Built once: to build it takes half a millisecond, several
# times as long as to look a version up.
_PARTS = union_all(
    select(
        REFS.c.revision_id.label("revision_id"),
        literal(_ALIAS).label("kind"),
        literal(0, TAGS.c.position.type).label("position"),
        REFS.c.name.label("name"),
        _NO_TEXT.label("dataset"),
        _NO_TEXT.label("split"),
        _NO_NUMBER.label("value"),
        _NO_TRUTH.label("higher_is_better"),
    ).where(_is_asked_for(REFS.c.revision_id)),
    select(
        TAGS.c.revision_id,
        literal(_TAG),
        TAGS.c.position,
        TAGS.c.tag,
        _NO_TEXT,
        _NO_TEXT,
        _NO_NUMBER,
        _NO_TRUTH,
    ).where(_is_asked_for(TAGS.c.revision_id)),
    select(
        METRICS.c.revision_id,
        literal(_METRIC),
        METRICS.c.position,
        METRICS.c.name,
        METRICS.c.dataset,
        METRICS.c.split,
        METRICS.c.value,
        METRICS.c.higher_is_better,
    ).where(_is_asked_for(METRICS.c.revision_id)),
)

_BATCH = 1000


def batches(values: Collection[Value]) -> Iterator[list[Value]]:
    """Yield values in batches that fit into a statement several times.

    SQLite's limit is 32,766 in all; `load_parts` asks for each id three times.
    """
    ordered = list(values)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def load_parts(connection: Connection, ids: Sequence[int]) -> dict[int, Parts]:
    """Return aliases, and tags and metrics with their positions, of every revision."""
    parts: dict[int, Parts] = {revision_id: ([], [], []) for revision_id in ids}
    for batch in batches(ids):
        _add_parts(parts, connection.execute(_PARTS, {"ids": batch}).all())
    return parts


def _add_parts(parts: dict[int, Parts], rows: Iterable[AnyRow]) -> None:
    for revision_id, kind, position, name, dataset, split, value, higher_is_better in rows:
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
