"""A published version as people list it, and how to load many without a query for each."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.manifest import Metric
from registry.refs import AdapterRef
from registry.tables.models import NamedRef, Repository, Revision, RevisionMetric, RevisionTag

Part = TypeVar("Part", RevisionTag, RevisionMetric, NamedRef)


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


VersionSelect: TypeAlias = "Select[Revision, Repository]"


def select_versions() -> VersionSelect:
    """Select all versions; add conditions, an order and a limit, then `load_versions`."""
    return (
        select(Revision, Repository)
        .join(Repository, Revision.repository_id == Repository.id)
        .where(Revision.number.is_not(None), Repository.deleted_at.is_(None))
    )


def load_versions(session: Session, statement: VersionSelect) -> list[tuple[int, Version]]:
    """Return revision ids and versions in the statement's order, with four queries in all."""
    rows = session.execute(statement).all()
    ids = [revision.id for revision, _ in rows]
    tags = _by_revision(session, RevisionTag, RevisionTag.position, ids)
    metrics = _by_revision(session, RevisionMetric, RevisionMetric.position, ids)
    aliases = _by_revision(session, NamedRef, NamedRef.name, ids)
    return [
        (
            revision.id,
            Version(
                ref=AdapterRef(repository.owner, repository.name, version=revision.number),
                manifest_digest=revision.manifest_digest,
                created_at=revision.created_at,
                author=revision.author,
                message=revision.message,
                kind=revision.kind,
                method=revision.method,
                base_model=revision.base_model,
                base_fingerprint=revision.base_fingerprint,
                task=revision.task,
                task_type=revision.task_type,
                language=revision.language,
                license=revision.license,
                description=revision.description,
                size=revision.size,
                tags=tuple(row.tag for row in tags[revision.id]),
                metrics=tuple(_metric(row) for row in metrics[revision.id]),
                aliases=tuple(row.name for row in aliases[revision.id]),
                yanked_at=revision.yanked_at,
                yank_reason=revision.yank_reason,
            ),
        )
        for revision, repository in rows
    ]


def load_version(session: Session, revision_id: int) -> Version:
    """Return one version, which must exist."""
    ((_, version),) = load_versions(session, select_versions().where(Revision.id == revision_id))
    return version


def load_digests(session: Session, digests: Collection[str]) -> dict[str, Version]:
    """Return the versions with these manifests by digest, the first published of several."""
    statement = (
        select_versions().where(Revision.manifest_digest.in_(digests)).order_by(Revision.id.desc())
    )
    # Newest first, so that the first published one is the one that stays.
    return {version.manifest_digest: version for _, version in load_versions(session, statement)}


def _by_revision(
    session: Session, table: type[Part], order: InstrumentedAttribute[Any], ids: list[int]
) -> dict[int, list[Part]]:
    grouped: dict[int, list[Part]] = defaultdict(list)
    for row in session.scalars(select(table).where(table.revision_id.in_(ids)).order_by(order)):
        grouped[row.revision_id].append(row)
    return grouped


def _metric(row: RevisionMetric) -> Metric:
    return Metric(
        dataset=row.dataset,
        split=row.split,
        name=row.name,
        value=row.value,
        higher_is_better=row.higher_is_better,
    )
