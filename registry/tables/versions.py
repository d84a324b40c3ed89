"""A published version as people list it, and how to load many without a query for each."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Row,
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

from registry.manifest import Metric
from registry.refs import AdapterRef
from registry.tables.base import Base

# Without the ORM, which takes longer to make objects of a page of rows than to find them.
REPOSITORIES = Base.metadata.tables["repositories"]
REVISIONS = Base.metadata.tables["revisions"]
_TAGS = Base.metadata.tables["tags"]
_METRICS = Base.metadata.tables["metrics"]
_REFS = Base.metadata.tables["refs"]

Reader: TypeAlias = Connection | Session
"""What reads: a connection, or a session in the middle of a write."""


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


def select_versions() -> VersionSelect:
    """Select all versions; add conditions, an order and a limit, then `load_versions`."""
    return (
        select(*_COLUMNS)
        .join_from(REVISIONS, REPOSITORIES, REVISIONS.c.repository_id == REPOSITORIES.c.id)
        .where(REVISIONS.c.number.is_not(None), REPOSITORIES.c.deleted_at.is_(None))
    )


def load_versions(reader: Reader, statement: VersionSelect) -> list[tuple[int, Version]]:
    """Return revision ids and versions in the statement's order, with two queries in all."""
    return [(row.id, version) for row, version in load_rows(reader, statement)]


def load_rows(
    reader: Reader, statement: VersionSelect, parameters: dict[str, Any] | None = None
) -> list[tuple[Row[Any], Version]]:
    """As `load_versions`, with the rows, which may have more columns than a version needs."""
    rows = reader.execute(statement, parameters or {}).all()
    if not rows:
        return []
    parts = _load_parts(reader, [row.id for row in rows])
    return [(row, _version(row, parts[row.id])) for row in rows]


def load_version(reader: Reader, revision_id: int) -> Version:
    """Return one version, which must exist."""
    ((_, version),) = load_rows(reader, _BY_ID, {"id": revision_id})
    return version


def load_digests(reader: Reader, digests: Collection[str]) -> dict[str, Version]:
    """Return the versions with these manifests by digest, the first published of several."""
    statement = (
        select_versions()
        .where(REVISIONS.c.manifest_digest.in_(digests))
        .order_by(REVISIONS.c.id.desc())
    )
    # Newest first, so that the first published one is the one that stays.
    return {version.manifest_digest: version for _, version in load_versions(reader, statement)}


_BY_ID = select_versions().where(REVISIONS.c.id == bindparam("id"))

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


# For one revision by itself, as a list of ids is written into the statement anew each time.
_PARTS_OF_ONE = _select_parts(lambda column: column == bindparam("id", type_=Integer))
_PARTS = _select_parts(lambda column: column.in_(bindparam("ids", expanding=True)))

_Parts: TypeAlias = tuple[list[str], list[tuple[int, str]], list[tuple[int, Metric]]]


def _load_parts(reader: Reader, ids: Sequence[int]) -> dict[int, _Parts]:
    """Return aliases, and tags and metrics with their positions, of every revision."""
    parts: dict[int, _Parts] = {revision_id: ([], [], []) for revision_id in ids}
    if len(ids) == 1:
        rows = reader.execute(_PARTS_OF_ONE, {"id": ids[0]}).all()
    else:
        rows = reader.execute(_PARTS, {"ids": ids}).all()
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
    return parts


def _version(row: Row[Any], parts: _Parts) -> Version:
    aliases, tags, metrics = parts
    (
        _id, owner, name, number, manifest_digest, created_at, author, message, kind, method,
        base_model, base_fingerprint, task, task_type, language, license, description, size,
        yanked_at, yank_reason,
    ) = row[: len(_COLUMNS)]  # fmt: skip
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
